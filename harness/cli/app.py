"""The command line, assembled: every command with its section of the help and its examples."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from dnabench.cli.audit import audit
from dnabench.cli.cache import cache
from dnabench.cli.check_model import check_model
from dnabench.cli.compare import compare
from dnabench.cli.data import data
from dnabench.cli.doctor import doctor
from dnabench.cli.embed import embed
from dnabench.cli.evaluate import evaluate
from dnabench.cli.export import export
from dnabench.cli.figure import figure
from dnabench.cli.help import command, group
from dnabench.cli.list import list_
from dnabench.cli.plan import plan
from dnabench.cli.predict import predict
from dnabench.cli.pretrain import pretrain
from dnabench.cli.probe import probe
from dnabench.cli.probe_attention import attention
from dnabench.cli.probe_attribution import attribution
from dnabench.cli.probe_context import context
from dnabench.cli.probe_dependency import dependency
from dnabench.cli.probe_embed import embed as embed_regions
from dnabench.cli.probe_match import match
from dnabench.cli.probe_occupancy import occupancy
from dnabench.cli.probe_variants import variants
from dnabench.cli.profile import profile
from dnabench.cli.published import published
from dnabench.cli.regimes import regimes
from dnabench.cli.report import report
from dnabench.cli.reproduce import reproduce
from dnabench.cli.run import run
from dnabench.cli.status import status
from dnabench.cli.store import store
from dnabench.cli.tokenizer import tokenizer
from dnabench.cli.tune import tune
from dnabench.cli.worker import worker

BENCHMARK, PLAN = "Benchmark", "Planning and this machine"
MACHINES = "Many machines"
USE = "Trained networks"
DATA, PUBLISHED = "Models and data", "Published tables"
app = main = group(
    "dnabench", "Which DNA sequence model is better, by how much, and can you believe it?"
)
command(
    app, "run", "--suite demo --seeds 3", "-m convnova-386k,kmer --data my.csv --seeds 10",
    "-m cnn,kmer --data peaks.narrowPeak --genome hg38.fa.gz --test-groups chr8,chr9",
    "-m cnn,kmer --positives enhancers.fa --negatives others.fa --seeds 5",
    "--config sweep.toml --dry-run", section=BENCHMARK,
)(run)  # fmt: skip
command(
    app, "report", "", "--full --against kmer", "--format latex --to table.tex",
    section=BENCHMARK,
)(report)  # fmt: skip
command(
    app, "compare", "convnova-386k kmer", "cnn kmer --out runs/demo", "hyenadna caduceus_ph",
    section=BENCHMARK,
)(compare)  # fmt: skip
command(
    app, "figure", "strip --to runs.pdf", "line --tasks gue --to learning.svg",
    "heatmap --x dilation --y kernel_size --to heat.png", section=BENCHMARK,
)(figure)  # fmt: skip
command(
    app, "tune", "--suite demo --budget 8 --seeds 5",
    "-m convnova-386k,cnn,kmer -s gue --budget 16 --seeds 10 --dry-run",
    "-m cnn --data my.csv --space lr=log:1e-4..3e-3 --epochs 5", section=BENCHMARK,
)(tune)  # fmt: skip
command(
    app, "regimes",
    "-m convnova-386k,unet -s gue --genomes human=hg38.fa --holdout hg38.fa:chr8 --tokenizers char",
    "-m convnova-386k,dnabert2 -t nt/h3 --recipe default --genomes "
    "yeast=yeast.fa,multi=yeast.fa+pombe.fa --holdout yeast.fa:XI --exclude-task nt/h3 "
    "--tokenizers char,bpe --dry-run",
    "-m convnova-386k --data my.csv --genomes yeast=yeast.fa --holdout yeast.fa:XI --budget 2M",
    section=BENCHMARK,
)(regimes)  # fmt: skip
command(
    app, "worker", "--out /shared/runs", "--out /shared/runs --for 2h",
    "--out runs --device cuda:1", section=MACHINES,
)(worker)  # fmt: skip
command(app, "status", "--out /shared/runs", "--watch", "--json", section=MACHINES)(status)
app.add_typer(store, rich_help_panel=MACHINES)
command(
    app, "pretrain",
    "convnova-386k --genome yeast.fa --holdout chrVIII --budget 20M --to yeast-convnova",
    "gpn-smol --genome a.fa.gz --holdout chr5 --regions a.gff3:exons=256,promoters=1000 --recipe "
    "gpn --budget 5G --to a",
    "gpn-legacy --regime pretrained --genome tair10.fa.gz --holdout Chr5 --set lr=0.0001 "
    "--to tair10",
    section=USE,
)(pretrain)  # fmt: skip
command(
    app, "evaluate", "yeast-convnova --genome yeast.fa --regions yeast.gff3",
    "gpn-legacy --genome tair10.fa.gz --sequence Chr5 --regions tair10.gff3",
    "yeast-convnova --genome yeast.fa --regions yeast.gff3 --protocol thesis", section=USE,
)(evaluate)  # fmt: skip
command(
    app, "predict", "runs/networks/TRIAL new.csv --to new.parquet",
    "runs/networks/TRIAL regions.bed --genome hg38.fa --to regions.csv",
    "runs/networks/TRIAL genome.fa.gz --window 200 --stride 100 --to windows.csv", section=USE,
)(predict)  # fmt: skip
command(
    app, "embed", "runs/networks/TRIAL regions.bed --genome hg38.fa --to my.parquet",
    "ntv2-50m my.csv --to my.npy",
    "caduceus_ph my.fa --layer 3 --pool mean --strands mean --to my.npy", section=USE,
)(embed)  # fmt: skip
command(
    app, "export", "runs/networks/TRIAL", "runs/networks/TRIAL --format torch-export",
    "runs/networks/TRIAL --format hf --to my-model", section=USE,
)(export)  # fmt: skip
command(
    probe, "variants", "my-network --vcf my.vcf --genome genome.fa",
    "my-network --vcf my.vcf.gz --genome genome.fa --region chr1:1-500,000 --to scored.vcf",
    "gpn --vcf matched.parquet --genome genome.fa --labels label",
)(variants)  # fmt: skip
command(
    probe, "match", "my.parquet --gff genes.gff3",
    "mendelian.parquet --labels pathogenic --to matched.parquet",
    "complex.parquet --near tss_dist,maf,ld_score --controls 9",
)(match)  # fmt: skip
command(
    probe, "dependency", "my-network --genome genome.fa --region chr1:101-200",
    "my-network --fasta promoter.fa --to promoter",
    "gpn --genome genome.fa.gz --region chr1:1,001-1,512 --to map",
)(dependency)  # fmt: skip
command(
    probe, "context", "my-network --genome genome.fa --at places.bed",
    "my-network --genome genome.fa --at places.bed --gff genes.gff3 --to context",
    "runs/networks/TRIAL --genome genome.fa --at places.bed --longest 4000",
)(context)  # fmt: skip
command(
    probe, "embed", "my-network --bed regions.bed --genome genome.fa",
    "my-network --bed windows.bed --genome genome.fa --gff genes.gff3 --umap",
    "runs/networks/TRIAL --bed regions.bed --genome genome.fa --layer 3",
)(embed_regions)  # fmt: skip
command(
    probe,
    "occupancy",
    "--bed marks.bed --gff genes.gff3",
    "--bed peaks.narrowPeak --gff genes.gff3 --exons --flank 2000",
    "--bed marks.bed --gff draft.gff3 --genome draft.fa --to marks",
)(occupancy)
command(
    probe, "attribution", "runs/networks/TRIAL my.fa",
    "runs/networks/TRIAL my.fa --output donor --to donors",
    "runs/networks/TRIAL peaks.csv --shuffles 10 --steps 64",
)(attribution)  # fmt: skip
command(
    probe, "attention", "ntv2-50m --genome genome.fa --region chr1:1,001-1,600",
    "my-network --genome genome.fa --region chr1:101-200 --gff genes.gff3",
    "runs/networks/TRIAL --fasta promoter.fa",
)(attention)  # fmt: skip
app.add_typer(probe, rich_help_panel=USE)
command(
    app, "plan", "-m cnn,kmer --suite demo --train-share 0.01,0.1,1 --keep best",
    "-m hyenadna,convnova -s nt --device cuda", "--config sweep.toml --json", section=PLAN,
)(plan)  # fmt: skip
command(
    app, "profile", "", "-m cnn,convnova --lengths 1000,10000",
    "-m caduceus_ph-7.7m --lengths 100000 --device cuda --to cost.svg", section=PLAN,
)(profile)  # fmt: skip
command(app, "doctor", "", "--online", "--json", section=PLAN)(doctor)
app.add_typer(cache, rich_help_panel=PLAN)
command(
    app, "list", "models", "tasks gue/mouse_0", "recipes --explain caduceus_ph nt", section=DATA
)(list_)
command(app, "check-model", "net.py:Net", "net.py:Net --set width=64", "convnova", section=DATA)(
    check_model
)
app.add_typer(data, rich_help_panel=DATA)
app.add_typer(audit, rich_help_panel=DATA)
app.add_typer(tokenizer, rich_help_panel=DATA)
app.add_typer(published, rich_help_panel=PUBLISHED)
command(
    app, "reproduce", "convnova/table13 -m legnet --dry-run",
    "convnova/table12 -t h3k4me3 --seeds 10", "convnova/table1 --limit 200 --epochs 1 --out quick",
    section=PUBLISHED,
)(reproduce)  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dnabench {version_of('dnabench')}")
        raise typer.Exit


@app.callback(help=app.info.help)
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass
