"""A lit marquee sign that says what is showing: `make easter`. Needs nothing but Python, and no network."""

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

SECONDS = 3.0
FRAMES_A_SECOND = 10
INNER_WIDTH = 51  # With the height it makes the number of lamps a multiple of three: no seam.

LETTERS = (
    "#   #  ###  ####   ###  #   # ##### #####",
    "## ## #   # #   # #   # #   # #     #    ",
    "# # # ##### ####  # # # #   # ####  #### ",
    "#   # #   # #  #  #  ## #   # #     #    ",
    "#   # #   # #   #  ####  ###  ##### #####",
)

GOLD, RED, BOLD, RESET = "\x1b[93m", "\x1b[31m", "\x1b[1m", "\x1b[0m"
HIDE_CURSOR, SHOW_CURSOR, UP = "\x1b[?25l", "\x1b[?25h", "\x1b[{}A\r"


def main() -> None:
    """Light the sign for three seconds on a terminal; print it once anywhere else."""
    title = now_showing({**dotenv(Path(".env")), **os.environ})
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    moving = (
        sys.stdout.isatty()
        and os.environ.get("TERM", "dumb") != "dumb"
        and shutil.get_terminal_size().columns >= INNER_WIDTH + 4
    )
    if not moving:
        print("\n".join(sign(title, 0, colour=colour)))
        return
    try:
        print(HIDE_CURSOR, end="")
        for frame in range(int(SECONDS * FRAMES_A_SECOND)):
            lines = sign(title, frame, colour=colour)
            print(("" if frame == 0 else UP.format(len(lines))) + "\n".join(lines), flush=True)
            time.sleep(1 / FRAMES_A_SECOND)
    except KeyboardInterrupt:
        pass
    finally:
        print(SHOW_CURSOR, end="", flush=True)


def dotenv(path: Path) -> dict[str, str]:
    """Return the plain `NAME=value` lines of `path`; none where there is no such file."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}


def now_showing(environment: Mapping[str, str]) -> str:
    """Say which model the settings in `environment` ask for."""
    setting = {name: environment.get(name, "").strip() for name in ("MODEL_SOURCE", "PROJECT_NAME")}
    source = setting["MODEL_SOURCE"] or ("wandb" if setting["PROJECT_NAME"] else "embedded")
    if source == "embedded" or (source == "auto" and not setting["PROJECT_NAME"]):
        return "THE EMBEDDED MODEL"
    name = environment.get("LOCAL_MODEL_NAME", "").strip() or "sentiment"
    if source == "local":
        return name
    return f"{name}:{environment.get('MODEL_VERSION', '').strip() or 'latest'}"


def sign(title: str, frame: int, *, colour: bool) -> list[str]:
    """Draw the sign. Every third lamp round it is lit, one lamp further with every frame."""
    title = "".join(character for character in title if character.isprintable())
    if len(title) > INNER_WIDTH - 4:
        title = title[: INNER_WIDTH - 7] + "..."
    board = ["", *LETTERS, "", "- NOW SHOWING -", title, "", "doors: POST /predict   admission: one text", ""]
    width, height = INNER_WIDTH + 2, len(board) + 2

    def paint(text: str, code: str) -> str:
        return f"{code}{text}{RESET}" if colour else text

    def lamp(place: int) -> str:
        return paint("*", BOLD + GOLD) if (place - frame) % 3 == 0 else paint("o", RED)

    right, bottom = width, width + height - 2  # The first place on the right side, and on the bottom row.
    left = bottom + width
    lines = ["".join(lamp(place) for place in range(width))]
    for row, text in enumerate(board):
        code = GOLD if text in LETTERS else BOLD
        lines.append(
            lamp(left + height - 3 - row) + paint(text.center(INNER_WIDTH), code) + lamp(right + row)
        )
    lines.append("".join(lamp(bottom + width - 1 - place) for place in range(width)))
    lines += [("||" + " " * 25 + "||").center(width).rstrip()] * 2
    return lines


if __name__ == "__main__":
    main()
