"""Each mend that makes a recipe or a suite do what its source does, undone: for mutations.py."""

SCHEDULE, GHOST = "harness/train/schedule.py", "harness/train/ghost.py"
LEARNER, TOKENS = "harness/train/learner.py", "harness/tokens/tokenizers.py"
CADUCEUS, HYENA, CONVNOVA = "models/caduceus.py", "models/hyenadna.py", "models/convnova.py"
LEGNET, DNABERT2, CNN = "models/legnet.py", "models/dnabert2.py", "models/cnn.py"
GENES, SITES, NAMES = "tasks/io/gene_windows.py", "tasks/io/splice_sites.py", "tasks/io/names.py"
NT, DEEPSEA, DEEPSTARR = "tasks/nt.py", "tasks/deepsea.py", "tasks/deepstarr.py"

# number of the row in docs/benchmarks/fidelity.md, then what is broken; file, old, new, tests
FIDELITY = [
    (
        "fidelity 1: Caduceus decays what its authors exempt",
        CADUCEUS, 'if options.get("exempt", True) else net', "if False else net",
        "tests/test_caduceus.py -k exempt",
    ),
    (
        "fidelity 1: the trainer ignores the groups of a network",
        LEARNER, 'elif recipe.finetune == "full" and hasattr', "elif False and hasattr",
        "tests/test_hyenadna.py -k groups",
    ),
    (
        "fidelity 2: the cosine of train+test spans train alone",
        SCHEDULE, 'splits = recipe.horizon.split("+")', 'splits = recipe.horizon.split("+")[:1]',
        "tests/test_fidelity.py -k spans",
    ),
    (
        "fidelity 2: the schedule ends with training whatever the horizon",
        LEARNER, "(examples.scheduled or self._data.n)", "self._data.n",
        "tests/test_fidelity.py -k follows",
    ),
    (
        "fidelity 3: HyenaDNA's official recipes keep the released shift",
        HYENA, 'options = {"shift": 0.0, ', 'options = {"shift": 0.05, ',
        "tests/test_recipes.py",
    ),
    (
        "fidelity 3: HyenaDNA's dropouts change places",
        HYENA, '"resid_dropout": dropouts[0], "embed_dropout": dropouts[1]',
        '"resid_dropout": dropouts[1], "embed_dropout": dropouts[0]', "tests/test_recipes.py",
    ),
    (
        "fidelity 4: left-pad fills with N",
        TOKENS, 'fill=ANY_BASE if padding == "left-n" else PAD', "fill=ANY_BASE",
        "tests/test_fidelity.py -k named",
    ),
    (
        "fidelity 5: rows are padded to the task's length, not to max_length",
        TOKENS, "encoded = self(seqs.head(most), most, padding) if most",
        "encoded = self(seqs.head(most), length, padding) if most",
        "tests/test_fidelity.py -k max_length",
    ),
    (
        "fidelity 5: the number of rows that were cut is not kept",
        TOKENS, "encoded.n_cut = int((seqs.lengths > most).sum()) if most else 0",
        "encoded.n_cut = 0", "tests/test_fidelity.py -k cut",
    ),
    (
        "fidelity 6: one batch norm over the whole batch",
        GHOST, "self.parts = recipe.batch // own if 0 < own < recipe.batch else 1",
        "self.parts = 1", "tests/test_fidelity.py -k gpus",
    ),
    (
        "fidelity 6: LegNet's recipe has one batch norm",
        LEGNET, "batch=256, norm_batch=128, epochs=20", "batch=256, epochs=20",
        "tests/test_recipes.py",
    ),
    (
        "fidelity 7: ConvNova's published recipes keep the paper's dilations",
        CONVNOVA, '"options": {"dilation_schedule": "code", ',
        '"options": {"dilation_schedule": "paper", ', "tests/test_recipes.py",
    ),
    (
        "fidelity 7: ConvNova's published recipes keep final_conv",
        CONVNOVA, '"code", "final_conv": False}', '"code", "final_conv": True}',
        "tests/test_recipes.py",
    ),
    (
        "fidelity 8: warm-up in steps is read as a share",
        SCHEDULE, "warm = recipe.warmup if recipe.warmup >= 1 else recipe.warmup * total",
        "warm = min(recipe.warmup, 0.5) * total", "tests/test_fidelity.py -k warm_up",
    ),
    (
        "fidelity 8: warm-up starts above 0",
        DNABERT2, "warmup_from=0.0", "warmup_from=1e-6", "tests/test_recipes.py -k dnabert2",
    ),
    (
        "fidelity 8: biases and layer norms of DNABERT-2 decay",
        DNABERT2, 'no_decay="biases-norms", ', "", "tests/test_fidelity.py -k layer_norms",
    ),
    (
        "fidelity 8: max_steps ends nothing",
        LEARNER, "        if self.recipe.max_steps:", "        if False:",
        "tests/test_fidelity.py -k steps_in_place",
    ),
    (
        "fidelity 9: the CNN's recipe does not say that it differs",
        CNN, "theirs applies a sigmoid", "ours applies a sigmoid", "tests/test_recipes.py",
    ),
    (
        "fidelity 10: counts of H4 follow the other source",
        NT, '("H4", 13_140, 1_461,', '("H4", 13_140, 1_460,',
        "tests/test_suites.py -k 'nt or verify'",
    ),
    (
        "fidelity 11: DeepSEA reports the mean",
        DEEPSEA, 'reported="auroc_median"', 'reported="auroc_mean"',
        "tests/test_deepsea.py -k groups",
    ),
    (
        "fidelity 12: strand pairs are drawn one by one",
        "harness/sweep/trial.py", "either_strand(*fingerprints(one))",
        "fingerprints(one)[0]", "tests/test_blocks.py -k strand_pairs",
    ),
    (
        "fidelity 13: Dev and Hk are scored together alone",
        DEEPSTARR, "    groups=GROUPS,\n", "", "tests/test_deepstarr.py",
    ),
    (
        "fidelity 14: the stop codon is exon as BEND has it not",
        GENES, 'else (without_stop(g, codes) for g in genes)', "else genes",
        "tests/test_genes.py -k stop",
    ),
    (
        "fidelity 14: donor and acceptor of the other strand are not looked at",
        SITES, '    5: Site("donor of the other strand", A, C, True),\n', "",
        "tests/test_bend.py",
    ),
    (
        "fidelity 15: archives of Zenodo by their official names are unknown",
        NAMES, 're.compile(r"_v\\d+$")', 're.compile(r"_no\\d+$")',
        "tests/test_importing_files.py",
    ),
    (
        "fidelity 16: a constant gives a correlation of rounding errors",
        "harness/correlation.py", "(norm > 0) & ~constant", "norm > 0",
        "tests/test_metrics_regression.py -k constant",
    ),
]  # fmt: skip
