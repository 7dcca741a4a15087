"""Long words break where a dock is narrow, and nothing of them is lost."""

import pytest

from napari_blush.plugin.run_phase import RunPhase
from napari_blush.plugin.widgets.complaint import Complaint
from napari_blush.plugin.widgets.run_controls import RunControls
from napari_blush.plugin.widgets.sentence import Sentence, breakable
from napari_blush.plugin.widgets.steering_panel import SteeringPanel

LONG = [
    "/data/projects/2026/membrane_proteins/refinement_with_a_long_name/run_half1_class001.mrc",
    "1fc70352abf69f982bed46d5a515b1e227fcc0a5777d9c8bbb641f120af7ff8a",
    "a" * 300,
]


@pytest.mark.parametrize("word", LONG)
def test_nothing_is_lost_and_no_piece_is_long(word) -> None:
    broken = breakable(f"Could not read {word}: it is empty.")
    assert broken.replace("\u200b", "") == f"Could not read {word}: it is empty."
    assert max(map(len, broken.replace(" ", "\u200b").split("\u200b"))) <= 17


def test_short_words_are_left_alone() -> None:
    text = "Iteration 3: 8.34 Å here, 9.12 Å in run001-twin."
    assert breakable(text) == text


@pytest.mark.parametrize("word", LONG)
def test_no_sentence_widens_a_dock(application, word) -> None:
    sentence, complaint = Sentence(word), Complaint()
    complaint.say(f"{word} is not there.")
    controls, steering = RunControls(), SteeringPanel(("smoothness", "blush"))
    controls.show_phase(RunPhase.FAILED, detail=word)
    steering.tell(word)
    for widget in (sentence, complaint, controls, steering):
        assert widget.minimumSizeHint().width() <= 340
        widget.deleteLater()
    assert sentence.text() == word
    assert complaint.text() == f"{word} is not there."
    assert controls.state.text() == f"Failed. {word}"
