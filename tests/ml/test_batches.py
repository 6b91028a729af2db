"""Batches: fixed by the seed, of few shapes, each text once a pass, and padded so that padding counts nothing."""

from collections import Counter

import numpy as np
import pytest

from app.services.text import WindowPolicy
from ml.batches import LENGTHS, Batch, Stage, fill, part_of, plan

POLICY = WindowPolicy()
TEXT_LENGTHS = [int(n) for n in np.random.default_rng(0).integers(1, 900, 300)]
STAGES = (Stage(128, 1.0), Stage(512, 1.5))


class TestStage:
    @pytest.mark.parametrize(
        ("text", "stage"),
        [
            ("128:0.5", Stage(128, 0.5)),
            ("512", Stage(512, 1.0)),
            ("16:3", Stage(16, 3.0)),
            ("64:", Stage(64, 1.0)),
        ],
    )
    def test_reads_tokens_and_passes(self, text, stage):
        assert Stage.parse(text) == stage

    @pytest.mark.parametrize(
        "text", ["", "long:1", "8:1", "513:1", "128:0", "128:-1", "128:nan", "128:inf", "128:x"]
    )
    def test_says_what_it_expects(self, text):
        with pytest.raises(ValueError, match="expected TOKENS:PASSES with 16 to 512 tokens"):
            Stage.parse(text)


class TestPlan:
    def test_the_same_seed_gives_the_same_batches(self):
        # A resumed run lays its batches out anew and goes on in the middle.
        assert plan(TEXT_LENGTHS, STAGES, 2048, 7) == plan(TEXT_LENGTHS, STAGES, 2048, 7)
        assert plan(TEXT_LENGTHS, STAGES, 2048, 7) != plan(TEXT_LENGTHS, STAGES, 2048, 8)

    def test_each_text_comes_once_a_pass(self):
        rows = Counter(row for batch in plan(TEXT_LENGTHS, [Stage(128, 2)], 2048, 0) for row in batch.rows)
        assert rows == dict.fromkeys(range(300), 2)

    def test_half_a_pass_sees_half_of_the_texts(self):
        rows = Counter(row for batch in plan(TEXT_LENGTHS, [Stage(128, 1.5)], 2048, 0) for row in batch.rows)
        assert Counter(rows.values()) == {1: 150, 2: 150}

    def test_stages_come_one_after_another(self):
        limits = [batch.max_tokens for batch in plan(TEXT_LENGTHS, STAGES, 2048, 0)]
        assert limits == sorted(limits)
        assert set(limits) == {128, 512}

    def test_shapes_are_few_and_hold_their_texts(self):
        batches = plan(TEXT_LENGTHS, [Stage(300, 1)], 2048, 0)
        assert {batch.length for batch in batches} <= {*(n for n in LENGTHS if n < 300), 300}
        for batch in batches:
            assert batch.size == 2048 // batch.length
            assert 1 <= len(batch.rows) <= batch.size
            shorter = max(n for n in (0, *LENGTHS) if n < batch.length)
            assert all(shorter < min(TEXT_LENGTHS[row] + 2, 300) <= batch.length for row in batch.rows)

    def test_a_text_longer_than_the_budget_still_gets_a_row(self):
        (batch,) = plan([600], [Stage(512, 1)], 100, 0)
        assert (batch.size, batch.rows) == (1, (0,))

    def test_lengths_are_mixed_over_the_pass(self):
        lengths = [batch.length for batch in plan(TEXT_LENGTHS, [Stage(512, 1)], 2048, 0)]
        assert lengths != sorted(lengths)


class TestPartOf:
    def test_a_text_that_fits_is_seen_whole(self):
        assert part_of(range(126), 128, POLICY, np.random.default_rng(0)) == list(range(126))

    def test_at_full_length_it_is_a_window_of_serving(self):
        spans, _ = POLICY.spans(1200)
        windows = {tuple(range(*span)) for span in spans}
        generator = np.random.default_rng(0)
        assert {tuple(part_of(range(1200), 512, POLICY, generator)) for _ in range(60)} == windows

    def test_below_it_is_head_and_tail_or_one_stretch(self):
        generator = np.random.default_rng(0)
        kinds = set()
        for _ in range(60):
            part = part_of(range(1000), 64, POLICY, generator)
            assert len(part) == 62
            jumps = [index for index in range(61) if part[index + 1] != part[index] + 1]
            kinds.add(len(jumps))
            assert len(jumps) <= 1
            if jumps:
                assert (part[0], part[-1]) == (0, 999)
        assert kinds == {0, 1}


class TestFill:
    TOKENS = ([10, 11, 12], list(range(100, 200)))
    TARGETS = np.array([[0.2, 0.8], [1, 0]], dtype=np.float32)

    def test_pads_and_masks(self):
        arrays = fill(Batch((0,), 2, 8, 8, 1), self.TOKENS, self.TARGETS, POLICY, (1, 2, 0))
        assert arrays.ids.tolist() == [[1, 10, 11, 12, 2, 0, 0, 0], [0] * 8]
        assert arrays.mask.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]
        assert arrays.targets == pytest.approx(np.array([[0.2, 0.8], [1, 0]]))
        assert arrays.weights.tolist() == [1, 0]
        assert (arrays.ids.dtype, arrays.mask.dtype) == (np.int32, np.int32)
        assert (arrays.targets.dtype, arrays.weights.dtype) == (np.float32, np.float32)

    def test_the_batch_fixes_which_part_is_seen(self):
        one, again, other = (
            fill(Batch((1,), 1, 16, 16, seed), self.TOKENS, self.TARGETS, POLICY, (1, 2, 0)).ids.tolist()
            for seed in (1, 1, 2)
        )
        assert one == again != other
        assert one[0][0] == 1
        assert one[0][-1] == 2
