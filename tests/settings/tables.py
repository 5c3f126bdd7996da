"""The table of docs/settings.md, made from the settings themselves: ``python -m tests.settings.tables`` prints it."""

from __future__ import annotations

from flue_sqla.settings import FlueSettings, variables


def rows() -> list[str]:
    lines = ["| Setting | Variables | Default | Meaning |", "|---|---|---|---|"]
    for name, setting in FlueSettings.model_fields.items():
        default = (
            "–" if setting.default is None else f"`{str(setting.default).lower() if setting.default in (True, False) else setting.default}`"
        )
        named = ", ".join(f"`{variable}`" for variable in variables(name))
        lines.append(f"| `{name}` | {named} | {default} | {setting.description} |")
    return lines


if __name__ == "__main__":
    print("\n".join(rows()))
