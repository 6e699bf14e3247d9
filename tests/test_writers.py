"""The metrics of a run: appended, flushed, and without what a killed run wrote too much."""

import json

from m5jax import writers

ROW = {
    "step": 5, "epoch": 0.256, "loss": 2.5, "contrastive": 1.5, "masked_region": 0.5, "grad_norm": 1.0,
    "learning_rate": 1e-3, "examples_per_s": 1234.5, "ms_per_step": 52.0, "data_wait_ms": 1.0, "mfu": 0.25,
}  # fmt: skip


def test_rows_are_on_disk_at_once(tmp_path):
    metrics = writers.Metrics(tmp_path / "metrics.jsonl", 0)
    metrics.write({"step": 1, "loss": 2.0})
    assert writers.read_jsonl(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 2.0}]
    metrics.close()


def test_resuming_drops_what_was_logged_beyond_the_checkpoint_and_a_cut_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": n}) + "\n" for n in range(1, 8)) + '{"step": 8, "lo')
    metrics = writers.Metrics(path, 5)
    metrics.write({"step": 6, "again": 1})
    metrics.close()
    assert [row["step"] for row in writers.read_jsonl(path)] == [1, 2, 3, 4, 5, 6]
    assert writers.read_jsonl(path)[-1] == {"step": 6, "again": 1}


def test_no_file_is_no_rows(tmp_path):
    assert writers.read_jsonl(tmp_path / "none.jsonl") == []


def test_tensorboard_gets_every_number(tmp_path):
    metrics = writers.Metrics(tmp_path / "metrics.jsonl", 0, tmp_path / "board")
    metrics.write(ROW)
    metrics.close()
    (events,) = (tmp_path / "board").iterdir()
    content = events.read_bytes()
    assert all(name.encode() in content for name in ROW if name != "step")


def test_the_line_shows_what_a_person_looks_for():
    line = writers.line(ROW, 100, 95)
    for part in (
        "5/100",
        "epoch 0.26",
        "loss 2.5000",
        "con 1.500",
        "img 0.500",
        "grad 1.00",
        "lr 1.00e-03",
        "1,234 ex/s",
        "52 ms/step",
    ):
        assert part in line
    for part in ("data 1", "mfu 25%", "1 min 35 s left"):
        assert part in line
