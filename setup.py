"""torch2trt: PyTorch modules to TensorRT engines and TVM programs."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "tvm": ["apache-tvm>=0.25"],
    "tensorrt": ["tensorrt>=8.6"],
    "rtx": ["tensorrt-rtx>=1.7"],
    "pycuda": ["pycuda"],
    "vision": ["torchvision"],
    "test": ["pytest", "ruff", "expecttest"],
    "demo": ["tqdm", "matplotlib"],
}

setup(
    name="torch2trt",
    version="1.0.0",
    description="PyTorch modules and functions, as they are, to TensorRT engines and TVM programs",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["torch2trt", "torch2trt.*"]),
    package_data={"torch2trt": ["py.typed"]},
    install_requires=["torch>=2.11", "numpy"],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["torch2trt = torch2trt.__main__:main"]},
)
