"""Packing, the model's arithmetic and the GGUF writer. Needs the environment of train.py; without it, it says so."""

import os
import struct
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bootstrap  # noqa: E402

try:
    import jax
    import numpy as np

    import beginning
    import gguf
    import model
    import optimizer
    import packing
    import train
except ImportError:
    python = bootstrap.BUILD / "venv" / "bin" / "python"
    if python.exists() and Path(sys.prefix).resolve() != (bootstrap.BUILD / "venv").resolve():
        os.execv(python, [str(python), *sys.argv])
    np = None

import bpe  # noqa: E402
import corpus  # noqa: E402
import stories  # noqa: E402

NEEDED = "needs numpy and jax: tools/mini/train.py sets them up"


def tiny():
    return model.Shape(layers=2, width=64, heads=4, kv_heads=2, ffn=96, vocab=1000)


@unittest.skipIf(np is None, NEEDED)
class Packing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tokenizer = bpe.Tokenizer(bpe.train(corpus.texts(1, 2000), 1000))
        size = packing.BatchSize((4, 96, 192), (2, 256, 460), (1, 512, 460))
        cls.packer = packing.Packer(cls.tokenizer, 5, size)

    def test_a_step_sees_the_same_batch_each_time(self):
        for a, b in zip(self.packer.batch(3), self.packer.batch(3)):
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])

    def test_two_steps_see_different_batches(self):
        self.assertFalse(np.array_equal(self.packer.batch(3)[0]["tokens"], self.packer.batch(4)[0]["tokens"]))

    def test_before_its_step_any_name_plays_any_part(self):
        size = packing.BatchSize((1, 96, 48), (8, 256, 1840), None)
        packer = packing.Packer(self.tokenizer, 5, size, 1)
        heroes = {f" named {name} who" for name in stories.HEROES}
        found = [{text for name in stories.NAMES if (text := f" named {name} who") in told} for told in
                 ("".join(map(self.tokenizer.decode, packer.batch(step)[1]["tokens"].tolist())) for step in (0, 1))]
        self.assertTrue(found[0] - heroes)
        self.assertTrue(found[1] and not found[1] - heroes)

    def test_each_target_is_the_next_token_of_its_own_conversation(self):
        for batch in [*self.packer.batch(0), *self.packer.batch(packing.FULL_EVERY - 1)]:
            flat, owner = batch["tokens"].ravel(), batch["segments"].ravel()
            for place, target, weight in zip(batch["picked"], batch["targets"], batch["weights"]):
                if weight > 0:
                    self.assertEqual(flat[place + 1], target)
                    self.assertEqual(owner[place + 1], owner[place])

    def test_every_conversation_starts_at_position_zero_with_the_begin_token(self):
        batch = self.packer.batch(1)[0]
        starts = (batch["positions"] == 0) & (batch["segments"] >= 0)
        self.assertTrue((batch["tokens"][starts] == self.tokenizer.special(bpe.BEGIN)).all())


@unittest.skipIf(np is None, NEEDED)
class Arithmetic(unittest.TestCase):
    def test_a_token_sees_nothing_later_and_nothing_of_its_neighbours(self):
        shape = tiny()
        params = beginning.weights(shape, 1)
        params["attn_output"] = params["attn_q"] * 0.5
        tokens = np.arange(24).reshape(1, 24)
        segments = np.repeat([[0, 1]], 12, axis=1)
        positions = np.tile(np.arange(12), 2)[None]
        run = jax.jit(lambda t: model.logits(shape, params, t, segments, positions))
        before = np.asarray(run(tokens))
        changed = tokens.copy()
        changed[0, [3, 20]] = 7
        after = np.asarray(run(changed))
        same = np.isclose(before, after, atol=1e-5).all(axis=-1)[0]
        self.assertEqual([i for i in range(24) if not same[i]], [*range(3, 12), *range(20, 24)])

    def test_a_grown_model_computes_what_the_shallow_one_did(self):
        small = tiny()
        params = beginning.weights(small, 2)
        params["attn_output"] = params["attn_q"] * 0.3
        params["ffn_down"] = jax.numpy.swapaxes(params["ffn_up"], 1, 2) * 0.3
        large = model.Shape(layers=6, width=64, heads=4, kv_heads=2, ffn=96, vocab=1000)
        tokens = np.arange(40).reshape(2, 20)
        run = jax.jit(model.logits, static_argnums=0)
        np.testing.assert_allclose(run(small, params, tokens), run(large, model.grow(small, large, params), tokens),
                                   atol=2e-4)

    def test_muon_makes_singular_values_about_one(self):
        m = jax.random.normal(jax.random.PRNGKey(0), (2, 48, 32))
        values = np.linalg.svd(np.asarray(jax.jit(optimizer.orthogonalize)(m)), compute_uv=False)
        self.assertTrue(((values > 0.5) & (values < 1.4)).all(), values)


@unittest.skipIf(np is None, NEEDED)
class Beginning(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shape, cls.params = model.NANO, beginning.weights(model.NANO, 4)
        half = np.random.default_rng(6).choice(np.arange(300, model.NANO.vocab), 40, replace=False)
        cls.tokens = np.concatenate([half, half])[None]

    def _first_block_scores(self):
        shape, params = self.shape, self.params
        h = model.rms_norm(params["token_embd"][self.tokens], 1.0, shape.norm_eps)
        angle = np.arange(80)[:, None] * shape.rope_base ** (-np.arange(0, shape.head_dim, 2) / shape.head_dim)
        turned = lambda name, heads: model.rotate((h @ params[name][0]).reshape(1, 80, heads, shape.head_dim),
                                                  np.cos(angle)[:, None], np.sin(angle)[:, None])[0]
        keys = np.repeat(turned("attn_k", shape.kv_heads), shape.heads // shape.kv_heads, axis=1)
        return np.einsum("thd,shd->hts", turned("attn_q", shape.heads), keys)

    def test_each_head_of_the_first_block_looks_its_own_number_of_places_back(self):
        scores = self._first_block_scores()
        for head, back in enumerate(beginning.LOOK_BACK):
            found = [int(scores[head, t, :t + 1].argmax()) for t in range(10, 80)]
            self.assertEqual(found, [t - back for t in range(10, 80)])

    def test_what_was_said_before_is_likelier_than_what_was_not(self):
        z = jax.nn.log_softmax(model.logits(self.shape, self.params, self.tokens)[0])
        cost = -np.asarray(z)[np.arange(79), self.tokens[0, 1:]]
        self.assertGreater(cost[:38].mean(), np.log(self.shape.vocab) - 0.5)
        self.assertLess(cost[40:].mean(), cost[:38].mean() - 2)

    def test_the_rate_of_a_branch_is_full_until_its_cool_down_and_zero_after_its_end(self):
        rate = train.branch_rate(1000, 400)
        self.assertEqual([rate(0), rate(600), rate(800), rate(1000)], [1.0, 1.0, 0.5, 0.0])
        self.assertEqual(train.branch_rate(100, 400)(50), 0.5)


@unittest.skipIf(np is None, NEEDED)
class Gguf(unittest.TestCase):
    def test_q8_0_is_off_by_at_most_half_a_step_of_its_block(self):
        m = np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32)
        back = gguf.dequantize_q8_0(gguf.quantize_q8_0(m), m.shape)
        step = np.abs(m.reshape(-1, 32)).max(axis=1) / 127
        error = np.abs((m - back).reshape(-1, 32)).max(axis=1)
        # The scale itself is rounded to half precision: 127 steps of a scale that is off by 2^-11.
        self.assertTrue((error <= step * (0.5 + 127 / 2048)).all())
        self.assertEqual(len(gguf.quantize_q8_0(m)), m.size // 32 * 34)

    def test_a_block_of_zeros_stays_zero(self):
        self.assertEqual(gguf.quantize_q8_0(np.zeros((1, 32))), bytes(34))

    def test_heads_are_interleaved_pair_by_pair(self):
        rows = np.arange(16)[:, None] * np.ones((1, 2))
        self.assertEqual(gguf.interleave_heads(rows, 2)[:, 0].tolist(),
                         [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15])

    def test_a_file_starts_with_its_magic_and_counts_and_is_aligned(self):
        shape = tiny()
        tokenizer = bpe.Tokenizer(bpe.train(corpus.texts(1, 2000), 1000))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.gguf"
            gguf.write(path, "x", shape, beginning.weights(shape, 1), tokenizer)
            data = path.read_bytes()
            self.assertEqual([p.name for p in Path(folder).iterdir()], ["x.gguf"])
        self.assertEqual(data[:4], b"GGUF")
        version, tensors, _ = struct.unpack_from("<IQQ", data, 4)
        self.assertEqual((version, tensors, len(data) % 32), (3, 3 + 9 * shape.layers, 0))


if __name__ == "__main__":
    unittest.main()
