"""Every probe over every family, at tiny sizes: finite results of the right shape, or a refusal.

Coordinates and strands: chr2 is the reverse complement of chr1, so what is asked at base p of chr1
and at base L - 1 - p of the other strand of chr2 is the same question.
"""

import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from kept_cases import job_of, kept, task_of_kind
from scipy.special import softmax
from test_genomes import fasta
from test_pretraining import CASES
from test_probe_dependency import slowly
from test_probe_variants import letters, rc, source

from dnabench import MODELS, TASKS
from dnabench.cli.probe import probe
from dnabench.models.language import language_of
from dnabench.networks.embedding import of_model, of_network
from dnabench.probes.attention import attention, of_bases, profile, rollout
from dnabench.probes.attribution import Attributed, Found, How, attribution
from dnabench.probes.attribution_files import write as write_attribution
from dnabench.probes.changes import embedding_change, output_change
from dnabench.probes.context import contexts_of, of_language, places_of, shares
from dnabench.probes.context import of_network as asked_of
from dnabench.probes.dependency import dependency, region_of
from dnabench.probes.dependency import write as write_map
from dnabench.probes.embed import embeddings, windows_of
from dnabench.probes.field import field, random_sequences
from dnabench.probes.likelihood import Likelihood
from dnabench.probes.mutagenesis import answer_of, mutagenesis_of_file
from dnabench.probes.places import Place
from dnabench.probes.variants import score_file
from dnabench.tasks.io.packed import packed
from dnabench.tasks.io.regions import read_regions
from dnabench.tokens.bpe import save, train_bpe
from dnabench.types import Sequences

W, L = 61, 300  # bp; an odd window is the same on both strands
FAMILY = {}  # the first model of each
for _name in MODELS:
    FAMILY.setdefault(MODELS[_name].family, _name)
FAMILY |= {MODELS[name].family: name for name in CASES}
NAMES = sorted(FAMILY.values())
SPEAK = [name for name in NAMES if MODELS[name].language]
PAIRS = [name for name in SPEAK if MODELS[name].tokenizer == "bpe"]
ALONE = [name for name in NAMES if MODELS[name].custom_trainer]  # train themselves
WORDS = [name for name in SPEAK if not MODELS[name].tokenizer.startswith("char")]
PER_BASE = [name for name in NAMES if "per_base" in MODELS[name].kinds]
MOVED = ["caduceus_ps", "convnova_unet", "deepatt"]  # before letters are looked up
NO_BACKBONE = ["cnn", "deepatt"]  # no layers that have a row for each base
TINY = {
    **CASES, "convnova_single_branch": {"width": 8, "blocks": 2}, "convnova_unet": {"width": 8},
    "ntv2_star": {**CASES["ntv2-50m"]}, "cnn": {}, "basenji": {"blocks": 1},
    "legnet": {}, "deepatt": {},
}  # fmt: skip


def tiny(name):
    return TINY.get(name, dict(MODELS[name].reduced))


def options_of(name, folder):
    """With a tokenizer, where byte pairs are read."""
    if name not in PAIRS:
        return tiny(name)
    save(train_bpe(Sequences.parse([letters(2000, 3)]), 64), folder / "t.json")
    return {**tiny(name), "tokenizer": f"bpe:{folder / 't.json'}"}


@pytest.fixture(scope="module", autouse=True)
def _one_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DNABENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    seq = letters(L)
    folder = tmp_path_factory.mktemp("genome")
    return packed(fasta(folder / "g.fa", {"chr1": seq, "chr2": rc(seq)}))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Kept networks of two classes, by model."""
    task, found = task_of_kind("binary", W), {}
    list(TASKS)
    TASKS._entries[task.name] = task

    def of(name):
        if name not in found:
            options = {} if name in PAIRS else tiny(name)
            job = job_of(MODELS[name], task, {**tiny(name), **options}, rc="none")
            found[name] = kept(job, tmp_path_factory.mktemp("kept"))[0]
        return found[name]

    yield of
    del TASKS._entries[task.name]


@pytest.fixture(scope="module")
def per_base(tmp_path_factory):
    """Kept networks with an answer for each base, by model."""
    task = task_of_kind("per_base", W)
    list(TASKS)
    TASKS._entries[task.name] = task

    def of(name):
        job = job_of(MODELS[name], task, tiny(name), rc="none")
        return kept(job, tmp_path_factory.mktemp("bases"))[0]

    yield of
    del TASKS._entries[task.name]


def refused(what, *needed):
    """What a refusal must say: the reason, and a way out."""
    with pytest.raises(ValueError, match=re.escape(needed[0])) as said:
        what()
    for words in needed:
        assert words in str(said.value)
    assert len(str(said.value)) < 300 and "\n" not in str(said.value)


def regions(tmp_path, *rows):
    path = tmp_path / "r.bed"
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return read_regions(path)


def test_no_family_is_left_out():
    assert {MODELS[name].family for name in NAMES} == {MODELS[name].family for name in MODELS}
    assert len(NAMES) == len(FAMILY) and len(SPEAK) > 10


# what asks no network; tests of their own: test_probe_matching.py, test_probe_occupancy.py
NO_NETWORK = {"match", "occupancy"}


def test_no_probe_is_left_out():
    """A test here for every command of `dnabench probe` that reads a network, over all families."""
    commands = {one.name for one in probe.registered_commands}
    assert len(commands) > 8
    tests = [(name, one) for name, one in globals().items() if name.startswith("test_")]
    for command in commands - NO_NETWORK:
        own = [one for name, one in tests if name.startswith(f"test_{command}")]
        over = [list(mark.args[1]) for one in own for mark in getattr(one, "pytestmark", ())]
        reached = {MODELS[name].family for names in over for name in names}
        language = {"context", "dependency"}  # of other families: refused by `language_of`
        wanted = SPEAK if command in language else NAMES
        assert reached >= {MODELS[name].family for name in wanted}, command


@pytest.mark.parametrize("name", NAMES)
def test_field(name, tmp_path):
    seqs = random_sequences(1, W)
    if name in ALONE:
        return refused(
            lambda: of_model(name, "scratch", W), "has no features", "embed another model"
        )
    found = field(name, of_model(name, "scratch", W, options=options_of(name, tmp_path)), seqs, 5)
    assert found.effect.offsets.tolist() == list(range(-30, 31))
    for shares_ in (found.effect.gradient, found.effect.substitution):
        assert shares_.shape == (W,) and np.isfinite(shares_).all() and (shares_ >= 0).all()
        assert shares_.sum() == pytest.approx(1)
    return None


@pytest.mark.parametrize("name", SPEAK)
def test_context(name, genome, tmp_path):
    likelihood = Likelihood(source(name, W, **tiny(name)))
    if name in PAIRS:
        return refused(lambda: of_language(likelihood), "none of which stands for a base", "needs")
    asked = of_language(likelihood)
    at = regions(tmp_path, ("chr1", 140, 141, "a", 0, "+"), ("2", L - 141, L - 140, "b", 0, "-"))
    contexts = contexts_of(asked, 24, 12)
    [(_, found)] = list(shares(asked, genome, places_of(at, genome, 24), contexts))
    assert found["none"].shape == (2, len(contexts), 4)
    np.testing.assert_allclose(found["none"].sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(found["none"][0], found["none"][1], atol=1e-5)
    return None


@pytest.mark.parametrize("name", PER_BASE)
def test_context_of_a_network_with_an_answer_for_each_base(name, genome, per_base, tmp_path):
    loaded = per_base(name)
    asked, both = asked_of(loaded), ((0, "chr1", 140, "+"), (1, "2", L - 141, "-"))
    contexts = contexts_of(asked, 48, 24)
    at = regions(tmp_path, *((chrom, p, p + 1, "a", 0, strand) for _, chrom, p, strand in both))
    [(_, found)] = list(shares(asked, genome, places_of(at, genome, 24), contexts))
    seq = letters(L)
    for j, context in enumerate(contexts.tolist()):
        left = context // 2
        logits = loaded.logits([seq[140 - left : 141 + left]])[0, left].astype(float)
        for i, *_ in both:
            np.testing.assert_allclose(found["none"][i, j], softmax(logits), atol=1e-5)
    # all of it is shown at the longest context: nothing is left to shuffle
    np.testing.assert_allclose(found["none"][:, -1], found["shuffled"][:, -1], atol=1e-5)
    moved = np.abs(found["none"] - found["none"][:, :1]).max()
    assert (moved > 1e-6) == (name != "majority")


@pytest.mark.parametrize("name", NAMES)
def test_attribution(name, network, tmp_path):
    loaded = network(name)
    codes = Sequences.parse([letters(W)]).codes
    said = ""
    if name in ALONE:
        said = "has no gradients"
    elif name in WORDS:
        said = "reads words of several bases"
    elif name in MOVED:
        said = "with letters, which is not followed"
    if said:
        return refused(
            lambda: attribution(loaded, codes, answer_of(loaded), How(1, 2)), said,
            "use `dnabench probe mutagenesis`",
        )  # fmt: skip
    found = attribution(loaded, codes, answer_of(loaded), How(2, 16))
    assert np.flatnonzero(np.isnan(found.values)).tolist() == [0, W - 1]
    size = np.nansum(np.abs(found.values))
    assert size > 1e-6 and abs(found.error) < 0.1 * size
    one = Attributed(found.values, found.answer, found.baseline)
    write_attribution(
        [Found(f"chr1:{100 + k}-{100 + k + W}{strand}", codes, one, [])
         for k, strand in enumerate(("(+)", "(-)"))], "", {}, tmp_path, 0,
    )  # fmt: skip
    table = pq.read_table(tmp_path / "attribution.parquet").to_pandas()
    plus, minus = (table[table.strand == strand] for strand in "+-")
    assert plus.position.tolist() == list(range(101, 100 + W - 1))
    assert minus.position.tolist() == list(range(100 + W - 1, 101, -1))
    assert plus.attribution.tolist() == minus.attribution.tolist() == found.values[1:-1].tolist()
    return None


@pytest.mark.parametrize("name", NAMES)
def test_context_of_a_network_with_one_answer_is_refused(name, network):
    refused(lambda: asked_of(network(name)), "one answer for a sequence", "language model, or")


def vcf(tmp_path, seq):
    """A base of chr1, counted from 1, and the same one of chr2 as the other strand has it."""
    ref, alt = seq[150], "CGTA"["ACGT".index(seq[150])]
    lines = [f"chr1\t151\t.\t{ref}\t{alt}", f"2\t{L - 150}\t.\t{rc(ref)}\t{rc(alt)}"]
    (tmp_path / "v.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        + "".join(f"{line}\t.\t.\t.\n" for line in lines)
    )
    return tmp_path / "v.vcf"


def scored(scorer, genome, tmp_path):
    done = score_file(scorer, vcf(tmp_path, letters(L)), genome, tmp_path / "s.parquet")
    rows = pq.read_table(tmp_path / "s.parquet").to_pandas()
    assert done.scored == 2 and rows.pos.tolist() == [151, L - 150]
    assert np.isfinite(rows.score).all()
    one, other = rows.score
    assert one == pytest.approx(other, abs=1e-4)
    return one


@pytest.mark.parametrize("name", NAMES)
def test_variants_by_likelihood(name, genome, tmp_path):
    if not MODELS[name].language:
        return refused(
            lambda: language_of(MODELS[name]), "has no language-model head", "families have one"
        )
    assert scored(Likelihood(source(name, W, **tiny(name))), genome, tmp_path) != 0
    return None


@pytest.mark.parametrize("name", NAMES)
def test_variants_by_embedding_and_by_output(name, genome, network, tmp_path):
    kept_one = network(name)
    answer = answer_of(kept_one)
    change = scored(output_change(kept_one, answer, name), genome, tmp_path)
    if name in ALONE:  # some of which see no change of one base
        return refused(lambda: of_network(kept_one), "has no features", "embed another model")
    assert change != 0
    if name in NO_BACKBONE:
        return refused(
            lambda: embedding_change(of_network(kept_one), name),
            "no layers with a row for each",
            "`--score output` compares the answers",
        )
    assert scored(embedding_change(of_network(kept_one), name), genome, tmp_path) > 0
    return None


@pytest.mark.parametrize("name", SPEAK)
def test_dependency(name, genome, tmp_path):
    likelihood = Likelihood(source(name, W, **tiny(name)))
    _, first, codes = region_of(genome, "1:101-120")
    if name in WORDS:
        return refused(
            lambda: dependency(likelihood, codes),
            "tokens, not bases",
            "network of single-base tokens",
        )
    found = dependency(likelihood, codes)
    slow = slowly(likelihood.source, letters(L)[100:120])
    np.testing.assert_allclose(found.values, slow, atol=5e-5)
    assert np.nanmax(slow) > 1e-3 and np.nanmax(np.abs(slow - slow.T)) > 1e-3  # neither 0 nor even
    # the same bases on the other strand of chr2
    turned = [("chr1", first, "+"), (genome.contigs[1], L - 1 - first, "-")]
    for place, start in zip(turned, (100, L - 120), strict=True):
        table = pq.read_table(write_map(found, Place(*place), {}, tmp_path)[0]).to_pandas()
        assert {*table["from"]} == {*table["to"]} == set(range(start, start + 20))
        assert len(table) == 380 and {*table["chrom"]} == {place[0]}
        step = 1 if place[2] == "+" else -1
        i, j = (step * (table[end] - place[1]) for end in ("from", "to"))
        np.testing.assert_allclose(table["dependency"], slow[i, j], atol=5e-5)
    return None


@pytest.mark.parametrize("name", NAMES)
def test_embed(name, genome, network, tmp_path):
    rows = [("chr1", 100, 113), ("2", L - 113, L - 100), ("1", 200, 213)]
    windows = windows_of(regions(tmp_path, *rows), genome, W, ["a", "a", "b"], 10)
    if name in ALONE:
        return refused(lambda: of_network(network(name)), "has no features", "embed another model")
    source_of = of_network(network(name))
    if name in (*NO_BACKBONE, "basenji"):  # which has bins of 16 bp
        return refused(
            lambda: embeddings(source_of, windows),
            "no layers with a row for each",
            "bedtools getfa",
        )
    x = embeddings(source_of, windows)
    assert len(x) == 3 and x.ndim == 2 and np.isfinite(x).all()
    np.testing.assert_allclose(x[0], x[1], atol=1e-4)
    assert np.abs(x[0] - x[2]).max() > 1e-6
    return None


@pytest.mark.parametrize("name", NAMES)
def test_attention(name, genome, network):
    if name in ALONE:
        return refused(lambda: of_network(network(name)), "has no features", "embed another model")
    codes = region_of(genome, f"chr1:1-{W}")[2]
    asked = of_network(network(name))
    if name not in WORDS:
        return refused(
            lambda: attention(asked, codes), "no attention between tokens", "`dnabench probe dep"
        )
    found = attention(asked, codes)
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-5)
    by_distance = profile(found)
    np.testing.assert_allclose(by_distance.share.sum(-1), 1, atol=1e-5)
    whole = of_bases(found, rollout(found), W)
    assert whole.shape == (W, W) and np.isfinite(whole).any()
    return None


@pytest.mark.parametrize("name", NAMES)
def test_mutagenesis(name, network, tmp_path):
    n = 24
    seq = letters(n) + "N" * (W - n)  # which are not replaced
    (tmp_path / "x.fa").write_text(f">chr1:100-{100 + W}\n{seq}\n>chr1:100-{100 + W}(-)\n{seq}\n")
    loaded = network(name)
    done = mutagenesis_of_file(loaded, tmp_path / "x.fa", answer_of(loaded), tmp_path / "o", 0)
    table = pq.read_table(tmp_path / "o" / "mutagenesis.parquet").to_pandas()
    assert done.sequences == 2 and len(table) == 2 * 3 * n and np.isfinite(table.change).all()
    plus, minus = (table[table.strand == strand] for strand in "+-")
    assert plus.position.tolist() == [100 + i for i in range(n) for _ in range(3)]
    assert minus.position.tolist() == [99 + W - i for i in range(n) for _ in range(3)]
    assert plus.change.tolist() == pytest.approx(minus.change.tolist(), abs=1e-5)
