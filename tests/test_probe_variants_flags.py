"""What `probe variants` refuses and assumes: labels, directions, flags, telomeres, names."""

import json

import pytest
import torch
from kept_cases import put, tiny_network  # noqa: F401
from safetensors.torch import save_file
from test_genomes import fasta, own_cache
from test_probe_variants import HEADER, letters, net, put_vcf, rc, source
from typer.testing import CliRunner

from dnabench import MODELS
from dnabench.cache import file_sha256
from dnabench.cli import main
from dnabench.models.language import language_model
from dnabench.probes.likelihood import Likelihood
from dnabench.probes.variants import Asked, score_file
from dnabench.tasks.io.packed import packed
from dnabench.tensors import content_hash

__all__ = ["net", "own_cache"]  # fixtures
SEQ = letters(300)


def rows_of(infos):
    return [
        ("chr1", p + 1, ".", SEQ[p], rc(SEQ[p]), ".", ".", info) for p, info in enumerate(infos, 40)
    ]


def call(tmp_path, network, *more):
    words = ["variants", network, "--vcf", tmp_path / "v.vcf", "--genome", tmp_path / "x.fa",
             "--device", "cpu", *more]  # fmt: skip
    return CliRunner().invoke(main, ["probe", *map(str, words)])


@pytest.fixture
def genome(tmp_path):
    return packed(fasta(tmp_path / "x.fa", {"chr1": SEQ}))


@pytest.mark.parametrize("bare", [0, 2])
def test_a_label_that_is_a_flag_in_some_lines_is_refused(bare, tmp_path, genome):
    infos = ["Y=0", "Y=1", "X", "Y=1", "Y=0"]
    infos[bare] = "Y"
    valued = next(i for i in range(5) if infos[i].startswith("Y="))
    vcf, likelihood = put_vcf(tmp_path / "v.vcf", rows_of(infos)), Likelihood(source("unet"))
    message = f"v.vcf:{4 + bare}: INFO has Y without a value, but line {4 + valued} has Y="
    with pytest.raises(ValueError, match=message):
        score_file(likelihood, vcf, genome, tmp_path / "o.parquet", Asked("Y"))
    assert likelihood.passes == 0
    for given, labels in ((["Y", "X", "Y", ".", "X"], list("10100")),
                          (["Y=1", "X", "Y=0", "Y=.", "X"], ["1", "", "0", ".", ""])):  # fmt: skip
        put_vcf(vcf, rows_of(given))
        done = score_file(likelihood, vcf, genome, tmp_path / "o.parquet", Asked("Y"))
        assert done.labelled.labels == labels
    put_vcf(vcf, rows_of(["Y=1;G=a", "Y=0;G", "Y=0"]))
    with pytest.raises(ValueError, match=r"v.vcf:5: INFO has G without a value; write G=NAME"):
        score_file(likelihood, vcf, genome, tmp_path / "o.parquet", Asked("Y", "G"))


def test_a_telomere_is_kept_with_its_reason(tmp_path, genome):
    rows = [("chr1", 0, "t", "N", "A", ".", ".", "."), *rows_of(["."])]
    vcf = put_vcf(tmp_path / "v.vcf", [*rows, ("chr1", 0, ".", "N", "]chr1:9]N", ".", ".", ".")])
    done = score_file(Likelihood(source("unet")), vcf, genome, tmp_path / "o.vcf")
    assert (done.lines, done.alleles, done.scored) == (3, 3, 1)
    assert done.why["POS 0, the telomere before the first base"] == 1
    kept = (tmp_path / "o.vcf").read_text().splitlines()
    assert [x.split("\t")[1] for x in kept if not x.startswith("#")] == ["0", "41", "0"]


def test_distances_are_high_in_class_1_unless_told(tmp_path, net):
    fasta(tmp_path / "x.fa", {"chr1": SEQ})
    put_vcf(tmp_path / "v.vcf", rows_of([f"Y={i % 2}" for i in range(12)]))
    about = {}
    for score, direction in (("embedding", ""), ("embedding", "minus"), ("likelihood", "")):
        to = tmp_path / f"{score}{direction}.parquet"
        how = ["--direction", direction] if direction else []
        said = call(tmp_path, net, "--score", score, "--labels", "Y", "--to", to, *how)
        assert not said.exit_code, said.output
        about[score + direction] = json.loads((tmp_path / f"{to.name}.json").read_text())["labels"]
    found = {key: one["net"] for key, one in about.items()}
    assert [one["direction"] for one in found.values()] == ["plus", "minus", "minus"]
    assert found["embedding"]["auroc"] == pytest.approx(1 - found["embeddingminus"]["auroc"])
    said = call(tmp_path, net, "--direction", "minus")
    assert "--direction minus: nothing is compared without --labels" in said.output


def test_the_report_tells_networks_of_one_name_apart(tmp_path, net, put):  # noqa: F811
    """By their weights and options; and it has the flags that decide what is printed."""
    small = {"width": 8, "layers": 1, "inner": 8}
    model = MODELS["gpn"]
    fasta(tmp_path / "x.fa", {"chr1": SEQ})
    gff = tmp_path / "g.gff"
    gff.write_text("##gff-version 3\nchr1\tx\tCDS\t100\t201\t.\t+\t0\tID=a\n")
    put_vcf(tmp_path / "v.vcf", rows_of([f"Y={i % 2};G=g{i // 2}" for i in range(12)]))
    tiny_network(tmp_path, put, "convnova-386k", "binary", 60)
    (kept,) = (tmp_path / "networks").iterdir()

    def about(network, *more):
        to = tmp_path / "o.parquet"
        said = call(tmp_path, network, "--to", to, *more)
        assert not said.exit_code, (said.output, said.exception)
        return json.loads((tmp_path / "o.parquet.json").read_text())

    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        file = tmp_path / str(seed) / "a.safetensors"
        file.parent.mkdir()
        whole = language_model(model, {**model.options, **small}, 60)
        named = {k.replace("backbone.", "model.").replace("head.", "cls."): v.contiguous()
                 for k, v in whole.state_dict().items()}  # fmt: skip
        save_file(named, file)
        words = [w for k, v in small.items() for w in ("--set", f"{k}={v}")]
        found.append(about("gpn", "--regime", f"checkpoint:{file}", "--length", 60, *words))
        assert found[-1]["weights"] == f"checkpoint:a.safetensors@{content_hash(file)}"
        assert found[-1]["options"] == {**model.options, **small} and found[-1]["model"] == "gpn"
    assert found[0]["weights"] != found[1]["weights"]
    one = about(net, "--labels", "Y", "--groups", "G", "--gff", gff)
    assert one["weights"] == f"sha256:{file_sha256(net / 'model.safetensors')}"
    assert one["asked"] == {
        "score": "likelihood", "output": "", "labels": "Y", "groups": "G", "direction": "minus",
        "gff": file_sha256(gff),
    }  # fmt: skip
    other = about(kept)
    assert other["weights"] == f"sha256:{file_sha256(kept / 'model.safetensors')}"
    assert (other["model"], other["network"]) == ("convnova-386k", str(kept))


def test_flags_that_nothing_reads_are_refused(tmp_path, net, put):  # noqa: F811
    fasta(tmp_path / "x.fa", {"chr1": SEQ})
    put_vcf(tmp_path / "v.vcf", rows_of(["."]))
    tiny_network(tmp_path, put, "convnova-386k", "binary", 60)
    (kept,) = (tmp_path / "networks").iterdir()
    for network, more, message in (
        (net, ["--output", "x"], "--output x: --score likelihood follows no answer"),
        (kept, ["--score", "embedding", "--output", "x"], "--score embedding follows no answer"),
        (kept, ["--regime", "scratch"], "has its own weights and options; leave it out"),
        (net, ["--regime", "scratch"], "has its own weights and options; leave it out"),
        (kept, ["--set", "layers=2"], "has its own weights and options; leave it out"),
        ("gpn", ["--model", "my.py/x"], "--model my.py/x: gpn is no kept network"),
        (kept, ["--model", "cnn"], "--model cnn: this network is one of convnova-386k"),
        (net, ["--trust-remote-code"], "brings no code that would be run; leave it out"),
    ):
        said = call(tmp_path, network, *more, "--to", tmp_path / "o.parquet")
        assert said.exit_code and message in f"{said.output} {said.exception}", (more, said.output)
        assert not (tmp_path / "o.parquet").exists()
    assert not call(tmp_path, kept, "--model", "convnova-386k", "--to",
                    tmp_path / "o.parquet").exit_code  # fmt: skip


def test_files_of_one_name_keep_both_their_reports(tmp_path, net):
    fasta(tmp_path / "x.fa", {"chr1": SEQ})
    put_vcf(tmp_path / "v.vcf", rows_of(["."]), HEADER)
    for name in ("a.parquet", "a.vcf"):
        said = call(tmp_path, net, "--to", tmp_path / name)
        assert not said.exit_code and f"{name}.json" in said.output
    assert {f.name for f in tmp_path.glob("a.*json")} == {"a.parquet.json", "a.vcf.json"}
