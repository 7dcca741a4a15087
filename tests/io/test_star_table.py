from pathlib import Path

import numpy as np
import pytest
import starfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_blush.errors import StarFileError
from napari_blush.io.star_table import StarBlock, read_star
from napari_blush.io.star_text import as_column, columns_of, write_star

labels = st.lists(
    st.from_regex(r"rln[A-Z][A-Za-z0-9]{0,8}", fullmatch=True), min_size=1, max_size=5, unique=True
)
# STAR has no way to write a line break or both kinds of quote into one value.
values = st.text(
    st.characters(blacklist_characters="\n\r\"'", blacklist_categories=("Cs", "Zl", "Zp")),
    max_size=12,
).filter(lambda text: len(text.splitlines()) <= 1)


def blocks_of(draw: st.DrawFn) -> list[StarBlock]:
    blocks = []
    for name in draw(
        st.lists(st.sampled_from(["optics", "particles", "", "x1"]), min_size=1, unique=True)
    ):
        names = draw(labels)
        is_loop = draw(st.booleans())
        n_rows = draw(st.integers(0, 4)) if is_loop else 1
        rows = st.lists(values, min_size=n_rows, max_size=n_rows)
        blocks.append(StarBlock(name, columns_of({label: draw(rows) for label in names}), is_loop))
    return blocks


@settings(max_examples=30, deadline=None)
@given(blocks=st.composite(blocks_of)())
@example([StarBlock("a", columns_of({"rlnA": ["_x", "#y", "data_z", "loop_", "", "a b", "d'"]}))])
@example([StarBlock("a", columns_of({"rlnA": ["data_1/mic.mrc", "loop_"], "rlnB": ["1", "2"]}))])
def test_what_is_written_is_read_back_to_the_letter(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[StarBlock]
) -> None:
    path = tmp_path_factory.mktemp("star") / "a.star"
    write_star(path, blocks)
    read = read_star(path)
    assert list(read) == [block.name for block in blocks]
    for block in blocks:
        again = read[block.name]
        assert again.is_loop == block.is_loop
        assert list(again.columns) == list(block.columns)
        for label, column in block.columns.items():
            assert again.columns[label].tolist() == column.tolist()


def test_starfile_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    table = {"rlnA": [1.5, -2e-7], "rlnImageName": ["000001@a.mrcs", "2@b c.mrcs"]}
    blocks = [
        StarBlock("optics", columns_of({"rlnOpticsGroup": [1]})),
        StarBlock("particles", columns_of(table)),
        StarBlock("general", columns_of({"rlnPixelSize": [1.25]}), False),
    ]
    write_star(path, blocks)
    oracle = starfile.read(path, always_dict=True)
    np.testing.assert_allclose(oracle["particles"]["rlnA"], [1.5, -2e-7], rtol=1e-6)
    assert oracle["particles"]["rlnImageName"].tolist() == table["rlnImageName"]
    assert oracle["general"]["rlnPixelSize"] == 1.25


def test_relion_layout_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    write_star(path, [StarBlock("particles", columns_of({"rlnA": [1, 2], "rlnB": ["x", "y"]}))])
    assert path.read_text().splitlines() == [
        "", "# version 30001", "", "data_particles", "", "loop_ ", "_rlnA #1 ", "_rlnB #2 ",
        "1 x ", "2 y ", " ",
    ]  # fmt: skip


@pytest.mark.parametrize("quoted", [False, True])
def test_tabs_comments_blank_lines_and_carriage_returns(tmp_path: Path, quoted: bool) -> None:
    path = tmp_path / "a.star"
    second = "'c d'" if quoted else "cd"
    path.write_bytes(
        (
            "# written by hand\r\n\r\ndata_optics\r\n\r\nloop_ \r\n_rlnA #1 [a comment]\r\n_rlnB #2"
            "\r\n  a \tb\r\n\r\n" + second + "   e  \r\n\r\n# version 30001\r\n\r\n# again\r\n\r\n"
            "data_general\r\n_rlnX 3 \r\n"
        ).encode()
    )
    read = read_star(path)
    assert read["optics"].columns["rlnA"].tolist() == ["a", second.strip("'")]
    assert read["optics"].columns["rlnB"].tolist() == ["b", "e"]
    assert read["general"].columns["rlnX"].tolist() == ["3"]
    assert not read["general"].is_loop


def test_names_in_an_old_encoding_survive(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    raw = b"data_\n\nloop_\n_rlnA\nM\xfcller.mrc\n"
    path.write_bytes(raw)
    write_star(tmp_path / "b.star", [*read_star(path).values()])
    assert b"M\xfcller.mrc" in (tmp_path / "b.star").read_bytes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no data_ block"),
        ("hello\nworld\n", "no data_ block"),
        ("data_a\nloop_\n_rlnA\n1\ndata_a\nloop_\n_rlnA\n1\n", "two blocks data_a"),
        ("data_a\nloop_\n_rlnA #1\n_rlnB #2\n_rlnA #3\n1 2 3\n", "_rlnA twice in data_a.* line 5"),
        ("data_a\nloop_\n_rlnA\n_rlnB\n1 2\n1\n", "1 values for 2 labels in line 6"),
        # As many values as two full rows have, but not two in each.
        ("data_a\nloop_\n_rlnA\n_rlnB\n1 2 3\n1\n", "3 values for 2 labels in line 5"),
        ("data_a\nloop_\n_rlnA\n_rlnB\n1 '2 3'\n1\n", "1 values for 2 labels in line 6"),
        ("data_a\n1 2 3\n", "values before any label in line 2"),
        ("data_a\n_rlnA\n", "gives _rlnA no value in line 2"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.star"
    path.write_text(text)
    with pytest.raises(StarFileError, match=words) as caught:
        read_star(path)
    assert str(path) in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(StarFileError, match="does not exist"):
        read_star(tmp_path / "none.star")
    with pytest.raises(StarFileError, match="Cannot read"):
        read_star(tmp_path)


def test_uneven_columns_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(StarFileError, match="as many in each"):
        write_star(tmp_path / "a.star", [StarBlock("a", columns_of({"x": [1], "y": [1, 2]}))])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000000"), (-0.25, "-0.250000"), (123456.7890123, "123456.789012"),
        (1.234567891e-5, "1.234568e-05"), (1.322898e6, "1.322898e+06"), (7, "7"), (True, "1"),
        ("000001@a.mrcs", "000001@a.mrcs"),
    ],
)  # fmt: skip
def test_numbers_as_text(value: object, text: str) -> None:
    assert as_column([value]).tolist() == [text]
