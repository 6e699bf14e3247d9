"""A catalogue of a config's shapes, for measurements that need no data set of one's own.

Titles and tables are made of Chinese and English words as sellers use them, names of properties by a long tail.
Features are half-wave rectified normal numbers, as behind a ReLU; pictures are shaded noise, which JPEG finds harder
than most products; clips and sounds are those of the embedded catalogue. Nothing in it means anything.
"""

import dataclasses
import io
import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from m5jax import modalities
from m5jax.catalogues import toy_media
from m5jax.inputs import Inputs

PICTURE = 448  # pixels, side of a picture
NAMES, VALUES = 600, 4000  # property names and values there are


@dataclasses.dataclass(frozen=True)
class Pattern:
    """What is missing and how long the rest is; lengths are drawn between a share of the config's and all of it.

    Attributes:
      absent: share of the listings without video and audio (they miss together in M5Product: a sound is of a clip).
      shortest: per modality the smallest share of its rows, pieces or frames that a listing has.
    """

    absent: float
    shortest: dict[str, float]


PATTERNS = {
    "full": Pattern(0.0, {}),
    # M5Product (Dong et al., CVPR 2022): 5,050,078 of 6,313,067 listings have all five; lengths as its paper has them.
    "m5product": Pattern(0.2, {"image": 10 / 36, "text": 14 / 36, "table": 20 / 64, "video": 4 / 12}),
    "half-absent": Pattern(0.5, {}),
}

_CHINESE = [
    "新款", "秋冬", "女装", "连衣裙", "男士", "纯棉", "短袖", "休闲", "运动", "跑步", "鞋子", "家用", "厨房",
    "不锈钢", "保温杯", "儿童", "玩具", "智能", "手表", "蓝牙", "耳机", "防水", "背包", "旅行", "大容量",
    "复古", "真皮", "钱包", "护肤", "面霜", "保湿", "套装", "正品", "包邮", "送礼", "礼盒", "茶叶", "有机",
    "坚果", "零食", "宠物", "猫粮", "汽车", "座垫", "四季", "通用", "加厚", "被子", "床单", "双人", "北欧",
    "简约", "台灯", "护眼", "充电", "风扇", "静音", "迷你", "便携", "空气", "净化器", "滤芯", "牙刷", "电动",
    "洗衣液", "抗菌", "瑜伽", "健身", "器材", "钓鱼", "户外", "帐篷", "自动",
]  # fmt: skip
_ENGLISH = [
    "cotton", "slim", "fit", "wireless", "charger", "stainless", "steel", "kids", "summer", "running", "shoes",
    "bluetooth", "organic", "gift", "set", "mini", "pro",
]  # fmt: skip


def write(folder: pathlib.Path, inputs: Inputs, listings: int, pattern: Pattern, seed: int = 0) -> None:
    """Writes a catalogue folder (docs/data.md) with `listings` rows, all of split train."""
    maker = _Maker(folder, inputs, pattern, np.random.default_rng(seed))
    for name in ("image", "video", "audio"):
        (folder / name).mkdir(parents=True)
    with (folder / "catalogue.jsonl").open("w", encoding="utf-8") as file:
        for number in range(listings):
            file.write(json.dumps(maker.row(number), ensure_ascii=False) + "\n")


class _Maker:
    def __init__(self, folder: pathlib.Path, inputs: Inputs, pattern: Pattern, rng: np.random.Generator):
        self.folder, self.inputs, self.pattern, self.rng = folder, inputs, pattern, rng
        self.names = sorted({self._words(int(n), "") for n in rng.integers(1, 4, NAMES)})
        self.values = sorted({self._words(int(n), " ") for n in rng.integers(1, 5, VALUES)})

    def row(self, number: int) -> dict[str, Any]:
        """One listing; its media are files of their own."""
        row: dict[str, Any] = {
            "id": f"listing-{number}",
            "split": "train",
            "category": ["goods", f"kind {number % 97}"],
        }
        silent = self.rng.random() < self.pattern.absent
        for name in self.inputs.modalities:
            if name == "text":
                row["title"] = self._words(self._count("text", self.inputs.text.length) * 2 // 3, "")
            elif name == "table":
                row["attributes"] = self._table(self._count("table", self.inputs.table.length))
            elif not (silent and name in ("video", "audio")):
                path, data = self._media(name, number)
                (self.folder / path).write_bytes(data)
                row[modalities.TABLE[name].field] = [path]
        return row

    def _count(self, name: str, most: int) -> int:
        least = max(1, round(most * self.pattern.shortest.get(name, 1.0)))
        return int(self.rng.integers(least, most + 1))

    def _words(self, count: int, between: str) -> str:
        chosen = [
            (_ENGLISH if self.rng.random() < 0.15 else _CHINESE)[int(self.rng.random() ** 2 * 16)]
            if self.rng.random() < 0.5
            else self.rng.choice(_CHINESE)
            for _ in range(max(1, count))
        ]
        return between.join(map(str, chosen)) + ("" if self.rng.random() < 0.7 else f" {self.rng.integers(1, 999)}")

    def _table(self, pieces: int) -> list[list[str]]:
        """Rows of about so many pieces in all, four or five a row; names and values of a long tail."""
        return [
            [table[int(self.rng.random() ** 3 * len(table))] for table in (self.names, self.values)]
            for _ in range(max(1, pieces // 7))
        ]

    def _media(self, name: str, number: int) -> tuple[str, bytes]:
        """Path and bytes of a file of the kind that the config asks for."""
        chosen = getattr(self.inputs, name)
        if chosen.source == "features":
            return f"{name}/{number}.npy", self._features(name, chosen)
        if name == "image":
            return f"{name}/{number}.jpg", self._picture()
        take = toy_media.Take.draw(self.rng)
        if name == "video":
            return f"{name}/{number}.mp4", toy_media.clip("kettle", "spin", take)
        return f"{name}/{number}.wav", toy_media.sound("Toys", 440.0, take, self.rng)

    def _features(self, name: str, chosen: Any) -> bytes:
        rows = self._count(name, chosen.feature_rows)
        array = np.maximum(self.rng.standard_normal((rows, chosen.feature_dim), np.float32), 0)
        if name == "image" and chosen.geometry:
            corners = np.sort(self.rng.random((rows, 2, 2), np.float32), 1)
            area = np.prod(corners[:, 1] - corners[:, 0], 1, keepdims=True)
            array = np.concatenate([array, corners.reshape(rows, 4), area], 1)
        if name == "image" and chosen.classes:
            shares = self.rng.dirichlet(np.full(chosen.classes, 0.1), rows)
            array = np.concatenate([array, shares], 1)
        file = io.BytesIO()
        np.save(file, array.astype(np.float16))
        return file.getvalue()

    def _picture(self) -> bytes:
        coarse = self.rng.integers(0, 256, (PICTURE // 16, PICTURE // 16, 3)).astype(np.uint8)
        shaded = np.asarray(Image.fromarray(coarse).resize((PICTURE, PICTURE), Image.Resampling.BICUBIC), np.int16)
        pixels = np.clip(shaded + self.rng.normal(0, 6, shaded.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        return file.getvalue()
