"""The only code that issues statements on the models, one file or folder per aggregate."""
