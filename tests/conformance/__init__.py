"""The public conformance suite on every database and driver, on both faces, and on the reference model itself."""
