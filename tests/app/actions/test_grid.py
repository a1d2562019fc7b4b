"""Actions of Grid."""

from app.page import grid_actions
from tests.builders.player import Player


def test_a_grid_renders_cells_in_place_and_a_cell_can_be_chosen(engine, values):
    axes = [("beta", "0, 1"), ("omega", "1, 3"), ("none", "")]
    steps = list(grid_actions.render(engine, axes, values, lambda: False))
    assert steps[0]["stop_grid"]["interactive"] and not steps[0]["render_grid"]["interactive"]
    final = {}
    for step in steps:
        final |= step
    assert "Done: 4 of 4 cells" in final["grid_status"] and len(final["grid_records"]) == 4
    assert final["render_grid"]["interactive"] and "grid-" in final["sheets"]
    chosen = grid_actions.choose(final["grid_records"], 3)
    assert chosen["to_compare"]["interactive"] and (chosen["grid_chosen"]["beta"], chosen["grid_chosen"]["omega"]) == (
        1,
        3,
    )
    pair, cell = chosen["chosen"]
    assert [one.name for one in pair.cells] == ["without NPO", "with NPO"], "plain CFG of the same row stands beside it"
    assert pair.cells[0].settings["beta"] == 0 and pair.cells[0].settings["omega"] == cell.settings["omega"] == 3
    assert len(grid_actions.choose(final["grid_records"], 0)["chosen"][0].cells) == 1
    assert grid_actions.choose(final["grid_records"], 9) == {}
    fault = list(grid_actions.render(engine, [("beta", "x"), ("none", ""), ("none", "")], values, lambda: False))
    assert 'role="alert"' in fault[-1]["grid_status"] and fault[-1]["render_grid"]["interactive"]


def test_a_grid_of_several_seeds_shows_them_in_each_cell_with_their_mean_in_the_heat_map(workspace, values):
    engine = Player(workspace, judge={values["prompt"]: 0.5})
    axes = [("beta", "0, 1"), ("none", ""), ("none", "")]
    *_, last = (step for step in grid_actions.render(engine, axes, values, lambda: False, 2) if "cells" in step)
    assert [[cell.name for cell in pair.cells] for pair in last["grid_records"]] == [["seed 4", "seed 5"]] * 2
    assert "Done: 2 of 2 cells" in last["grid_status"] and last["heat"].count("<td style") == 2
    refused = list(grid_actions.render(engine, axes, values, lambda: False, 99))
    assert "Pairs is 99, outside 1 to 16" in refused[-1]["grid_status"]
