"""Small pieces of HTML that several tabs show. Everything that came from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from app.page.text import sentence, translate, word
from core.errors import Sentence, StudioError
from core.generation.settings import FIELDS
from core.studio.comparing.events import Estimate


def fault(error: StudioError) -> str:
    """A fault as its message and its remedy; a setting is called what the form calls it."""
    message, remedy = escape(translate(_with_label(error.message))), escape(translate(_with_label(error.remedy)))
    return f'<div class="fault" role="alert"><b>{message}</b>{remedy}</div>'


def _with_label(text: str) -> str:
    """The sentence with the label of a setting in place of its name."""
    name = text.values.get("name") if isinstance(text, Sentence) else None
    if not isinstance(text, Sentence) or not isinstance(name, str) or name not in FIELDS:
        return text
    return Sentence(text.template, **{**text.values, "name": word(FIELDS[name].label)})


def sentences(*texts: str) -> str:
    """Sentences of the engine one after another."""
    return " ".join(escape(translate(text)) for text in texts)


def left_out(faults: Sequence[StudioError]) -> str:
    """Damaged files that a list does not show: how many, and which on request; nothing where there are none."""
    if not faults:
        return ""
    rows = "".join(f"<li>{sentences(fault.message, fault.remedy)}</li>" for fault in faults[:20])
    head = escape(sentence("Left out because damaged: {count}", count=len(faults)))
    return f'<details class="left-out"><summary>{head}</summary><ul>{rows}</ul></details>'


def progress(text: str, share: float) -> str:
    """A line of text over a bar; share from 0 to 1."""
    width = max(0.0, min(1.0, share)) * 100
    return f'{escape(text)}<div class="track"><div class="fill" style="width:{width:.1f}%"></div></div>'


def facts(pairs: list[tuple[str, str]]) -> str:
    """Names and figures in a row."""
    cells = "".join(f"<span>{escape(name)} <b>{escape(value)}</b></span>" for name, value in pairs)
    return f'<div class="facts">{cells}</div>'


def cost_line(cost: Estimate) -> str:
    """What a rendering will cost, in a line: its time, and its memory where it is known."""
    time = sentence("the time is known after the first rendering of this size")
    if cost.seconds is not None:
        time = sentence("about {time}", time=duration(cost.seconds))
    parts = [time, sentence("{count:,} row-forwards", count=cost.row_forwards)]
    if cost.needed:
        parts.append(sentence("takes about {needed:.1f} GiB", needed=cost.needed / 2**30))
        parts.append(sentence("{free:.1f} GiB free", free=cost.free / 2**30))
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    whole = round(seconds)
    if seconds < 10:
        return sentence("{seconds} s", seconds=f"{seconds:.1f}".removesuffix(".0"))
    if whole < 60:
        return sentence("{seconds} s", seconds=whole)
    if whole < 3600:
        return sentence("{minutes} min {seconds:02d} s", minutes=whole // 60, seconds=whole % 60)
    return sentence("{hours} h {minutes:02d} min", hours=whole // 3600, minutes=whole % 3600 // 60)


def scale_note(omega: float) -> str:
    """Both conventions of the same strength, together."""
    return f'<div class="scale-note">ω {omega:g} = CFG <b>{omega + 1:g}</b></div>'
