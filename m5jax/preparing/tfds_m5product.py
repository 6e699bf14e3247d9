"""The M5Product release through TFDS, without TensorFlow: importing this module registers the builder ``m5product``.

    tfds.data_source("m5product/features", split="train", data_dir=DIR, download_and_prepare_kwargs={
        "download_config": tfds.download.DownloadConfig(manual_dir=RELEASE)})

The release is prepared first as m5jax prepares every catalogue, in the download folder: on all cores, within the limits
of `config.data`, and a preparation that was killed goes on. TFDS then copies the records, in their order, into a folder
of its own. Of the download folder nothing is needed afterwards, unless to train with m5jax.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from m5jax.catalogues import m5product
from m5jax.config import Config
from m5jax.data import prepared, records
from m5jax.data_settings import Data
from m5jax.errors import DataError
from m5jax.inputs import AudioInput, ImageInput, Inputs, VideoInput
from m5jax.preparing import prepare


@dataclasses.dataclass(eq=False, kw_only=True)
class M5ProductConfig(tfds.core.BuilderConfig):
    """What examples hold.

    Attributes:
      inputs: what of a listing is kept, and how.
      data: the limits of decoding and of what may be lost; its catalogue and root are set by TFDS.
    """

    inputs: Inputs = dataclasses.field(default_factory=Inputs)
    data: Data = dataclasses.field(default_factory=Data)


FEATURES = Inputs(
    image=ImageInput(source="features", boxes=True),
    video=VideoInput(source="features"),
    audio=AudioInput(source="features"),
)


class M5Product(tfds.core.GeneratorBasedBuilder):
    """M5Product (Dong et al., arXiv:2109.04275): products of image, text, table, video and audio; any may be absent."""

    name = "m5product"
    VERSION = tfds.core.Version(f"{prepared.FORMAT_VERSION}.0.0")
    BUILDER_CONFIGS = (
        M5ProductConfig(name="features", description="features as the release has them, in float16", inputs=FEATURES),
        M5ProductConfig(name="raw", description="pictures, films and sounds, small"),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The folder of the release, with id_info_dict.json in it: DownloadConfig(manual_dir=...). Nothing is fetched."
    )
    builder_config: M5ProductConfig  # pyright: ignore[reportIncompatibleMethodOverride] (a property of the base)

    def __init__(self, *, file_format: Any = "array_record", **settings: Any):
        super().__init__(file_format=file_format, **settings)

    def download_and_prepare(  # pyright: ignore[reportIncompatibleVariableOverride] (the base's is wrapped)
        self, *, download_config: tfds.download.DownloadConfig | None = None, **settings: Any
    ) -> None:
        """As TFDS describes it, without a look at what its bucket might have.

        Raises:
          DataError: the folder is no release; or as `prepare.prepare`.
        """
        download_config = (download_config or tfds.download.DownloadConfig()).replace(try_download_gcs=False)
        super().download_and_prepare(download_config=download_config, **settings)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=records.RecordCodec(self.builder_config.inputs).features,
            disable_shuffling=True,  # the order is m5jax's
            homepage="https://arxiv.org/abs/2109.04275",
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
        release, chosen = pathlib.Path(dl_manager.manual_dir), self.builder_config
        if m5product.find(release) is None:
            raise DataError(f"{release} is no M5Product release: it has no {m5product.INFO}")
        data = dataclasses.replace(chosen.data, catalogue=str(release), root=str(dl_manager.download_dir))
        made = prepare.prepare(dataclasses.replace(Config(), inputs=chosen.inputs, data=data))
        metadata: Any = self.info.metadata
        metadata.update(prepare.summary(made.manifest))
        for name in (prepared.REJECTIONS, prepared.SETS):
            if (made.folder / name).is_file():
                shutil.copy(made.folder / name, self.data_path / name)
        ours: Any = tfds.builder_from_directory(made.folder)
        return {split: self._generate_examples(ours.as_data_source(split)) for split in made.splits}

    def _generate_examples(self, source: Any) -> Iterator[tuple[int, Any]]:
        yield from enumerate(source)
