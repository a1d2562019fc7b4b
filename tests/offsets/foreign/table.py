"""The table of docs/families.md, from what the tests of this folder read and write: `python -m tests.offsets.foreign.table`."""

from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "families.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"


def rows() -> list[tuple[str, str, str, str]]:
    """(program and form, read, written, exact or told), each with the test that says so."""
    from tests.offsets.foreign.test_foreign import ALGORITHMS, MADE, PEFT

    assert set(ALGORITHMS) == set(MADE), "a file of LyCORIS without a row"
    lycoris = list(dict.fromkeys(ALGORITHMS.values()))
    return [
        ("kohya names, SD1.5 and SDXL: diffusers, ComfyUI, Forge, A1111, sd-scripts", "yes", "the usual form", "exact"),
        ("diffusers names, SD1.5 and SDXL", "yes", "`--to diffusers`", "exact; in ComfyUI and sd-scripts in part"),
        ("diffusers names, CogVideoX", "yes", "the usual form", "exact"),
        ("kohya names, CogVideoX: CogVideoX-Fun, kijai's nodes", "yes", "`--to kohya`", "exact; nothing in diffusers"),
        *((f"PEFT, {name}", "yes", "", "exact") for name in PEFT),
        *((f"LyCORIS, {name}", "yes", "", "exact") for name in lycoris),
        ("ComfyUI's own names (`diffusion_model.`), SimpleTuner (`lycoris_`)", "yes", "", "exact"),
        ("OneTrainer with an embedding", "the network", "", "exact; the embedding is told"),
        ("any of them with text-encoder parts", "the denoiser's part", "", "exact; the rest is told"),
        ("8-bit floats, adapters and whole networks, scaled or not", "yes", "", "exact"),
        (
            "whole denoiser, one file or shards, diffusers or original names, any prefix",
            "yes",
            "`offset merge`",
            "exact",
        ),
        ("whole denoiser as a low-rank offset", "", "`offset extract`", "told: error of weights and prediction"),
        ("`.ckpt`, `.pt`, `.pth`, `.bin`", "converted in a child process", "never", "exact"),
        ("BOFT, PEFT's OFT, anything with an unknown key", "refused by the key's name", "", ""),
    ]


def table() -> str:
    """The table as Markdown."""
    head = "| program and form | read | written | weights |\n|---|---|---|---|\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows())


def main() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
