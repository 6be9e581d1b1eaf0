"""How alike variants and matched controls are: numbers as scipy and pandas have them, figure."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import ks_2samp
from test_probe_matching import SEQS, trait_table
from typer.testing import CliRunner

from dnabench.cli import main
from dnabench.probes.matching import matched_table
from dnabench.probes.resemblance import KINDS, compared, resemblance_figure


def traits(n=1500):
    """Variants of class 1 that are near to starts and of one kind more often than controls."""
    rng, table = np.random.default_rng(2), trait_table(SEQS, n)
    own = table["label"].to_numpy(zero_copy_only=False)
    bp = np.where(own, rng.integers(0, 20_000, n), rng.integers(0, 60_000, n))
    signed = pa.array(bp * rng.choice([-1, 1], n))
    table = table.set_column(6, "tss_dist", signed)
    kinds = np.where(own | (rng.random(n) < 0.4), "dELS", "PLS")
    table = table.set_column(5, "consequence", pa.array(kinds))
    label = [None if i % 50 == 3 else bool(v) for i, v in enumerate(own)]  # without a label
    return table.set_column(4, "label", pa.array(label))


def test_how_alike_controls_are_is_that_of_scipy_before_and_after(tmp_path):
    table, how = traits(), ("label", ["chrom", "consequence"], ["tss_dist", "maf"])
    out, found = matched_table(table, tmp_path / "v.parquet", *how, 1, 0)
    columns = compared(table, *how, found)
    assert [one.name for one in columns] == ["tss_dist", "maf", "chrom", "consequence"]
    rows, taken = table.to_pandas(), out.to_pandas()
    own, after = (taken[taken.label.astype(bool) == which] for which in (True, False))
    before = rows[rows.label.eq(False)]
    for one in columns:
        groups = [part[one.name] for part in (own, before, after)]
        if one.numbers:
            groups = [part.abs() for part in groups]
            slow = tuple(ks_2samp(groups[0], part).statistic for part in groups[1:])
        else:
            shares = [part.value_counts(normalize=True) for part in groups]
            slow = tuple(shares[0].sub(x, fill_value=0).abs().sum() / 2 for x in shares[1:])
        assert one.apart == pytest.approx(slow, abs=1e-12)
        assert [len(x) for x in one.groups] == [len(own), len(before), len(after)]
    far = {one.name: one.apart for one in columns}
    assert far["consequence"][0] > 0.3 and far["chrom"][1] == far["consequence"][1] == 0
    assert far["tss_dist"][1] < far["tss_dist"][0] / 2  # what was matched is nearer


def test_the_figure_of_controls_has_a_line_for_each_group_and_all_kinds(tmp_path):
    table, how = traits(), ("label", ["consequence", "pos"], ["tss_dist"])
    found = matched_table(table, tmp_path, "label", ["consequence"], ["tss_dist"], 3, 0)[1]
    columns = compared(table, *how, found)
    figure = resemblance_figure(columns, 2)
    said = [text.get_text() for text in figure.legends[0].texts]
    n = len(columns[0].groups[0])
    assert said[0] == f"class 1 ({n} of {n + 2})" and said[2] == f"matched controls ({3 * n})"
    distance, kinds, places = figure.axes
    for line, values in zip(distance.lines, columns[0].groups, strict=True):
        assert sorted(line.get_xdata()) == line.get_xdata().tolist() == sorted(values.tolist())
        assert line.get_ydata()[-1] == 1
    assert [text.get_text() for text in kinds.get_yticklabels()] == ["PLS", "dELS"]
    for line, values in zip(kinds.lines, columns[1].groups, strict=True):
        assert line.get_xdata() == pytest.approx([np.mean(values == k) for k in ("PLS", "dELS")])
    assert len(places.get_yticks()) == KINDS + 1  # the rest together
    for line in places.lines:
        assert sum(line.get_xdata()) == pytest.approx(1)


def test_the_command_writes_a_figure_beside_its_table(tmp_path):
    pq.write_table(traits(), tmp_path / "v.parquet")
    words = ["probe", "match", str(tmp_path / "v.parquet"), "--controls", "3", "--to",
             str(tmp_path / "m.parquet")]  # fmt: skip
    said = CliRunner().invoke(main, words)
    assert not said.exit_code, said.output
    assert (tmp_path / "m.parquet.png").stat().st_size > 10_000
    lines = [line.split() for line in said.output.splitlines()]
    row = next(line for line in lines if line[:1] == ["tss_dist"])
    assert float(row[-1]) < float(row[-2]) and said.output.strip().endswith("m.parquet.png")
    (tmp_path / "m.parquet.png").unlink()
    said = CliRunner().invoke(main, [*words, "--exact", "", "--near", ""])
    assert "nothing is compared, so that there is no figure" in said.output
    assert not (tmp_path / "m.parquet.png").exists()
