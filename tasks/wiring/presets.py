"""Presets: whole params files for a study, by name."""

from pathlib import Path

from tasks.runtime.errors import PerceptError
from tasks.runtime.files import write_text

PRESETS = Path("presets")


def apply_preset(name: str, params_file: Path, folder: Path = PRESETS) -> None:
    """Write the preset ``name`` to ``params_file``.

    Parameters
    ----------
    name
        File name in ``folder``, without its ending.
    params_file
        What to overwrite; Git and DVC keep the older version.
    folder
        Where the presets lie.

    Raises
    ------
    PerceptError
        If there is no such preset.
    """
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise PerceptError(
            f"A preset must be one of {', '.join(known) or 'none found'}; {name!r} is none. "
            f"Name one of these, or add {folder / name}.yaml."
        )
    write_text(params_file, (folder / f"{name}.yaml").read_text())
