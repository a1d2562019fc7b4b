"""The table of docs/families.md, from what the tests of this folder read and write: `python -m tests.offsets.foreign.table`."""

from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "families.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"


def rows() -> list[tuple[str, str, str, str, str]]:
    """(program and form, read, written, exact or told, the test that says so)."""
    from tests.offsets.foreign.test_foreign import ALGORITHMS, MADE, PEFT

    assert set(ALGORITHMS) == set(MADE), "a file of LyCORIS without a row"
    lycoris = list(dict.fromkeys(ALGORITHMS.values()))
    return [
        ("kohya names, SD1.5 and SDXL: diffusers, ComfyUI, Forge, A1111, sd-scripts", "yes", "the usual form", "exact",
         "test_programs.test_the_form_that_is_written_unasked_is_read_whole_by_every_program"),
        ("diffusers names, SD1.5 and SDXL", "yes", "`--to diffusers`", "exact; in ComfyUI and sd-scripts in part",
         "test_programs.test_diffusers_names_are_for_diffusers_and_the_sentence_about_them_is_true"),
        ("diffusers names, CogVideoX", "yes", "the usual form", "exact",
         "test_programs.test_of_a_transformer_diffusers_reads_its_own_names_alone"),
        ("kohya names, CogVideoX: CogVideoX-Fun, kijai's nodes", "yes", "`--to kohya`", "exact; nothing in diffusers",
         "test_programs.test_of_a_transformer_diffusers_reads_its_own_names_alone"),
        *((f"PEFT, {name}", "yes", "", "exact", "test_foreign.test_what_peft_saved_acts_as_in_peft_by_folder_and_by_file")
          for name in PEFT),
        *((f"LyCORIS, {name}", "yes", "", "exact", "test_foreign.test_what_lycoris_saved_acts_as_in_lycoris")
          for name in lycoris),
        ("ComfyUI's own names (`diffusion_model.`), SimpleTuner (`lycoris_`)", "yes", "", "exact",
         "test_foreign.test_any_rank_alpha_precision_and_name_arrives"),
        ("CogVideoX's own trainer (SAT)", "yes", "", "exact; alpha of 1 and the base beside it are told",
         "test_foreign.test_an_adapter_of_cogvideox_s_own_trainer_arrives_without_changing_other_weights"),
        ("OneTrainer with an embedding", "the network", "", "exact; the embedding is told",
         "test_foreign.test_embeddings_of_onetrainer_are_reported_and_the_network_is_read"),
        ("any of them with text-encoder parts", "the denoiser's part", "", "exact; the rest is told",
         "test_foreign.test_text_encoder_parts_are_reported_and_the_network_is_read"),
        ("8-bit floats, adapters and whole networks, scaled or not", "yes", "", "exact",
         "test_foreign.test_a_scaled_eight_bit_network_is_read_with_its_scales"),
        (
            "whole denoiser, one file or shards, diffusers or original names, any prefix",
            "yes",
            "`offset merge`",
            "exact",
            "test_foreign.test_a_whole_network_is_read_behind_any_prefix_and_other_tensors_are_reported",
        ),
        ("whole denoiser in GGUF, of stable-diffusion.cpp and ComfyUI-GGUF", "yes, with the package `gguf`", "never",
         "exact: what its blocks hold", "test_gguf.test_a_network_arrives_as_the_package_reads_it"),
        ("ControlNet as one file, its authors' names or diffusers'", "as a control network", "never", "exact",
         "test_controlnet.test_its_authors_names_and_diffusers_names_give_the_same_network"),
        ("T2I-Adapter as one file, its authors' names (full, light, SDXL's) or diffusers'", "as a control network", "never",
         "exact", "test_controlnet.test_a_t2i_adapter_in_its_authors_names_and_in_diffusers_names_is_the_same_network"),
        ("textual inversion of A1111, diffusers or SDXL's trainers", "in prompts of SD1.5 and SDXL", "never", "exact",
         "test_inversions.test_files_of_every_program_are_imported_found_by_their_name_and_read_exactly"),
        ("whole denoiser as a low-rank offset", "", "`offset extract`", "told: error of weights and prediction",
         "test_foreign.test_a_whole_network_as_a_low_rank_offset_reports_its_error"),
        ("`.ckpt`, `.pt`, `.pth`, `.bin`", "converted in a child process", "never", "exact",
         "test_foreign.test_a_pickle_arrives_as_it_was"),
        ("PEFT's OFT of convolutions wider than a pixel", "refused by name", "", "",
         "test_foreign.test_what_no_weight_can_hold_and_what_its_file_does_not_say_is_refused"),
        ("anything with an unknown key", "refused by the key's name", "", "",
         "test_foreign.test_a_strange_key_in_it_is_refused_by_its_name"),
    ]  # fmt: skip


def table() -> str:
    """The table as Markdown."""
    head = "| program and form | read | written | weights |\n|---|---|---|---|\n"
    return head + "".join(f"| {' | '.join(row[:4])} |\n" for row in rows())


def main() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
