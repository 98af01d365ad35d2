"""The data sets known by name: data, no code."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, size in bytes and checksums (MD5 as its publisher gives it, SHA-256 to be safe)."""

    name: str
    size: int
    md5: str
    sha256: str


@dataclass(frozen=True)
class KnownSet:
    """A published data set: its classes in label order, its files, and the addresses under which each can be had."""

    name: str
    title: str
    licence: str
    classes: tuple[str, ...]
    files: tuple[RemoteFile, ...] = ()
    mirrors: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()  # where other tools keep it, below their data folder


_DIGITS = tuple("0123456789")

KNOWN: dict[str, KnownSet] = {
    known.name: known
    for known in (
        KnownSet(
            name="digits",
            title="1,797 handwritten digits, 8 x 8 (Alpaydin and Kaynak 1998), carried by scikit-learn",
            licence="CC BY 4.0",
            classes=_DIGITS,
        ),
        KnownSet(
            name="mnist",
            title="70,000 handwritten digits, 28 x 28 (LeCun, Cortes and Burges 1998)",
            licence="none stated",
            classes=_DIGITS,
            files=(
                RemoteFile(
                    "train-images-idx3-ubyte.gz",
                    9_912_422,
                    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                RemoteFile(
                    "train-labels-idx1-ubyte.gz",
                    28_881,
                    "d53e105ee54ea40749a09fcbcd1e9432",
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
                RemoteFile(
                    "t10k-images-idx3-ubyte.gz",
                    1_648_877,
                    "9fb629c4189551a2d022fa330f9573f3",
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                RemoteFile(
                    "t10k-labels-idx1-ubyte.gz",
                    4_542,
                    "ec29112dd5afa0611ce80d1b7f02629c",
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            ),
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            folders=("mnist", "MNIST/raw", "MNIST", "mnist/raw"),
        ),
        KnownSet(
            name="fashion-mnist",
            title="70,000 pictures of clothing, 28 x 28 (Xiao, Rasul and Vollgraf 2017)",
            licence="MIT",
            classes=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            files=(
                RemoteFile(
                    "train-images-idx3-ubyte.gz",
                    26_421_880,
                    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                ),
                RemoteFile(
                    "train-labels-idx1-ubyte.gz",
                    29_515,
                    "25c81989df183df01b3e8a0aad5dffbe",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                ),
                RemoteFile(
                    "t10k-images-idx3-ubyte.gz",
                    4_422_102,
                    "bef4ecab320f06d8554ea6380940ec79",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                ),
                RemoteFile(
                    "t10k-labels-idx1-ubyte.gz",
                    5_148,
                    "bb300cfdad3c16e7a12a480ee83cd310",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
            ),
            mirrors=(
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            ),
            folders=("fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "fashion_mnist", "fashion-mnist/raw"),
        ),
        KnownSet(
            name="cifar10",
            title="60,000 colour pictures of 10 kinds of things, 32 x 32 (Krizhevsky 2009)",
            licence="none stated",
            classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
            files=(
                RemoteFile(
                    "cifar-10-binary.tar.gz",
                    170_052_171,
                    "c32a1d4ab5d03f1284b67883e8d87530",
                    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                ),
            ),
            mirrors=(
                "https://www.cs.toronto.edu/~kriz/",
                "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
            ),
            folders=("cifar10", "cifar-10-batches-bin", "cifar-10", "cifar10/cifar-10-batches-bin"),
        ),
    )
}
