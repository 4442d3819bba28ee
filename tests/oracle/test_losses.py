"""Preference and distillation losses, and their gradients, against TRL's own functions and torch's kl_div, live on
random numbers in f64.

TRL's trainers are not built: the method that holds the loss runs on a stand-in for `self` that has what it reads.
Where a convention differs, the test's docstring names it."""

import os
import subprocess
from collections import defaultdict
from types import SimpleNamespace

import numpy
import pytest
import torch
import torch.nn.functional as F
from conftest import built, relative

TOLERANCE = 1e-9
F32 = 1e-5  # TRL computes ORPO in f32 whatever it is given


@pytest.fixture(scope="module")
def dump_program():
    return built("test_objective")


class Dump:
    """Runs the C++ side over arrays and cases; results come back as one flat f64 array a case."""

    def __init__(self, program, test, folder, arrays, cases):
        self.folder = folder
        for name, array in arrays.items():
            numpy.asarray(array.detach(), dtype=numpy.float64).tofile(folder / f"{name}.f64")
        (folder / "cases.txt").write_text("".join(" ".join(map(str, case)) + "\n" for case in cases))
        subprocess.run([program, f"--gtest_filter=Oracle.{test}"], check=True, capture_output=True,
                       env={**os.environ, "PRENTICE_ORACLE_DIR": str(folder)})

    def __getitem__(self, name):
        return torch.from_numpy(numpy.fromfile(self.folder / f"{name}.f64"))


ACCELERATOR = SimpleNamespace(device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x)


def stand_in(**fields):
    """What a trainer's loss reads of `self` beside its own settings."""
    return SimpleNamespace(accelerator=ACCELERATOR, model=SimpleNamespace(training=True), aux_loss_enabled=False,
                           _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0, _tp_size=1, **fields)


class Answers:
    """Per-token log-probabilities of `count` answers, chosen and rejected by turns, and their form in TRL's batches:
    one prompt token, all chosen rows before all rejected ones."""

    def __init__(self, count, seed=1):
        generator = torch.Generator().manual_seed(seed)
        self.lengths = torch.randint(1, 12, (count,), generator=generator).double()
        total = int(self.lengths.sum())
        self.log_probs = -torch.rand(total, generator=generator).double() * 3
        self.reference = self.log_probs + torch.randn(total, generator=generator).double()
        self.per_answer = torch.split(self.log_probs.clone().requires_grad_(), self.lengths.int().tolist())

    def padded(self, flat, order):
        parts = torch.split(flat, self.lengths.int().tolist())
        return torch.nn.utils.rnn.pad_sequence([parts[i] for i in order], batch_first=True)

    def batch(self, order):
        """Inputs of TRL's `_compute_loss`, and the leaf its gradients go to."""
        leaf = self.log_probs.clone().requires_grad_()
        log_probs = self.padded(leaf, order)
        mask = self.padded(torch.ones_like(self.log_probs), order).long()
        completion_mask = torch.cat([torch.zeros(len(order), 1, dtype=torch.long), mask], 1)
        rows = torch.zeros_like(log_probs)
        outputs = SimpleNamespace(log_probs=log_probs, entropy=rows, mean_logits=rows, is_top1=mask.bool())
        inputs = {"completion_mask": completion_mask, "input_ids": completion_mask, "attention_mask": completion_mask}
        return leaf, (lambda **_: outputs), inputs

    def sums(self, flat):
        return torch.stack([part.sum() for part in torch.split(flat, self.lengths.int().tolist())])


def expect(ours, loss, leaf, tolerance=TOLERANCE):
    loss.backward()
    assert ours[0].item() == pytest.approx(loss.item(), rel=tolerance, abs=tolerance)
    assert relative(ours[1:], leaf.grad) < tolerance
    leaf.grad = None


PAIRS = 7
DPO = [("sigmoid", 0.1, 0.0), ("sigmoid", 0.7, 0.0), ("robust", 0.2, 0.15), ("hinge", 0.3, 0.0), ("ipo", 0.25, 0.0)]


def test_dpo_losses_equal_trl(dump_program, tmp_path):
    """TRL's `sigmoid` reads no label smoothing; its `beta` of IPO is tau, as ours."""
    from trl.trainer.dpo_trainer import DPOTrainer

    answers = Answers(2 * PAIRS)
    ours = Dump(dump_program, "WritesPreferenceLosses", tmp_path,
                {"lengths": answers.lengths, "log_probs": answers.log_probs, "reference": answers.reference},
                [(f"case{i}", *case, 0) for i, case in enumerate(DPO)])
    order = [*range(0, 2 * PAIRS, 2), *range(1, 2 * PAIRS, 2)]
    reference = answers.sums(answers.reference)[order]
    for i, (loss_type, beta, smoothing) in enumerate(DPO):
        trainer = stand_in(ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl",
                           loss_types=[loss_type], loss_weights=[1.0], beta=beta, label_smoothing=smoothing,
                           use_weighting=False)
        leaf, model, inputs = answers.batch(order)
        inputs |= {"ref_chosen_logps": reference[:PAIRS], "ref_rejected_logps": reference[PAIRS:]}
        expect(ours[f"case{i}"], DPOTrainer._compute_loss(trainer, model, inputs, False), leaf)


CPO = [("cpo", 0.1, 0.0, 0), ("cpo", 0.3, 0.2, 0), ("simpo", 2.0, 0.0, 0.5), ("simpo", 2.5, 0.1, 1.0),
       ("cdpo", 0.2, 0.1, 0), ("orpo", 0.1, 0.0, 0)]


def test_losses_of_sums_and_averages_equal_trl(dump_program, tmp_path):
    """TRL gives CPO and SimPO (loss_type `simpo`) one function; with `cpo_alpha` 0 it adds no NLL. It has no cDPO: that
    is CPO's smoothed loss over log-ratios. Its odds-ratio loss has the opposite sign (it is subtracted), is in f32, and
    its NLL also counts the prompt's tokens, which ours leaves to the caller."""
    from trl.experimental.cpo.cpo_trainer import CPOTrainer
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    answers = Answers(2 * PAIRS, seed=2)
    ours = Dump(dump_program, "WritesPreferenceLosses", tmp_path,
                {"lengths": answers.lengths, "log_probs": answers.log_probs, "reference": answers.reference},
                [(f"case{i}", *case) for i, case in enumerate(CPO)])
    for i, (name, beta, smoothing, gamma) in enumerate(CPO):
        leaf = answers.log_probs.clone().requires_grad_()
        scores = answers.sums(leaf)
        if name in ("simpo", "orpo"):
            scores = scores / answers.lengths
        elif name == "cdpo":
            scores = scores - answers.sums(answers.reference)
        chosen, rejected = scores[0::2], scores[1::2]
        trainer = stand_in(alpha=0.0, beta=beta, label_smoothing=smoothing, simpo_gamma=gamma,
                           loss_type="simpo" if name == "simpo" else "sigmoid")
        if name == "orpo":
            loss = -ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)[0].mean()
        else:
            loss = CPOTrainer.cpo_loss(trainer, chosen, rejected)[0].mean()
        expect(ours[f"case{i}"], loss, leaf, F32 if name == "orpo" else TOLERANCE)


@pytest.mark.parametrize("shift", [1.5, -4.0])
def test_kto_equals_trl(shift, dump_program, tmp_path):
    """The mismatched scores are far above their reference, or below it, where the divergence is clamped at 0."""
    from trl.trainer.kto_trainer import KTOTrainer

    count = 9
    answers = Answers(count, seed=3)
    generator = torch.Generator().manual_seed(4)
    desirable = torch.randint(2, (count,), generator=generator).double()
    mismatched = torch.randn(count, generator=generator).double() - 20
    mismatched_reference = mismatched + 0.1 * torch.randn(count, generator=generator).double() - shift
    ours = Dump(dump_program, "WritesPreferenceLosses", tmp_path,
                {"lengths": answers.lengths, "log_probs": answers.log_probs, "reference": answers.reference,
                 "desirable": desirable, "mismatched": mismatched, "mismatched_reference": mismatched_reference},
                [("kto", "kto", 0.3, 1.2, 0.7)])
    trainer = stand_in(calculate_KL=True, precompute_ref_logps=True, loss_type="kto", beta=0.3, desirable_weight=1.2,
                       undesirable_weight=0.7, _compute_kl_logps=lambda model, batch: mismatched)
    leaf, model, inputs = answers.batch(list(range(count)))
    inputs |= {"label": desirable, "ref_logps": answers.sums(answers.reference), "ref_KL_logps": mismatched_reference}
    expect(ours["kto"], KTOTrainer._compute_loss(trainer, model, inputs, False), leaf)


ROWS, WIDTH, VOCAB, TEACHER_WIDTH = 11, 6, 19, 8
HEAD, TEACHER_HEAD = VOCAB + 3, VOCAB + 7  # both padded


class Models:
    def __init__(self, seed=5):
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.randn(*shape, generator=generator).double()
        self.arrays = {"student_hidden": draw(ROWS, WIDTH), "student_weight": draw(HEAD, WIDTH),
                       "teacher_hidden": draw(ROWS, TEACHER_WIDTH), "teacher_weight": draw(TEACHER_HEAD, TEACHER_WIDTH),
                       "projection": draw(TEACHER_WIDTH, WIDTH),
                       "labels": torch.randint(VOCAB, (ROWS,), generator=generator)}
        self.hidden = self.arrays["student_hidden"].clone().requires_grad_()
        self.weight = self.arrays["student_weight"].clone().requires_grad_()
        self.student = (self.hidden @ self.weight.T)[:, :VOCAB]
        self.all_teacher = self.arrays["teacher_hidden"] @ self.arrays["teacher_weight"].T
        self.teacher = self.all_teacher[:, :VOCAB]
        self.labels = self.arrays["labels"]

    def dump(self, program, folder, cases):
        (folder / "sizes.txt").write_text(f"{ROWS} {WIDTH} {HEAD} {TEACHER_WIDTH} {TEACHER_HEAD} {VOCAB}")
        return Dump(program, "WritesDistillationLosses", folder, self.arrays, cases)

    def expect(self, ours, loss, tolerance=TOLERANCE):
        by_hidden, by_weight = torch.autograd.grad(loss, [self.hidden, self.weight], retain_graph=True, allow_unused=True)
        assert ours[0].item() == pytest.approx(loss.item(), rel=tolerance, abs=tolerance)
        found, of_weight = ours[1:1 + by_hidden.numel()], ours[1 + by_hidden.numel():]
        assert relative(found, by_hidden.flatten()) < tolerance
        if by_weight is None:
            assert of_weight.abs().max() == 0
        else:
            assert relative(of_weight, by_weight.flatten()) < tolerance


def test_divergences_equal_trl_and_torch(dump_program, tmp_path):
    """TRL's GKD divides logits by the temperature and does not multiply by its square; ours does."""
    from trl.experimental.gkd.gkd_trainer import GKDTrainer

    models = Models()
    kinds = [("forward_kl", 0.5), ("reverse_kl", 0.5), ("jsd", 0.5), ("jsd", 0.1), ("jsd", 0), ("jsd", 1), ("tvd", 0.5)]
    cases = {f"{kind}-{beta}-{t}-{w}": (kind, beta, t, w, 0) for kind, beta in kinds for t in (1.0, 2.5) for w in (1.0, 0.4)}
    ours = models.dump(dump_program, tmp_path, [(name, *case) for name, case in cases.items()])
    for name, (kind, beta, temperature, weight, _) in cases.items():
        student, teacher = models.student / temperature, models.teacher / temperature
        if kind == "jsd":
            value = GKDTrainer.generalized_jsd_loss(models.student[None], models.teacher[None], models.labels[None], beta,
                                                    temperature)
        elif kind == "tvd":
            value = (student.softmax(1) - teacher.softmax(1)).abs().sum() / 2 / ROWS
        else:
            ends = (student.log_softmax(1), teacher.log_softmax(1))
            value = F.kl_div(*(ends if kind == "forward_kl" else reversed(ends)), log_target=True, reduction="sum") / ROWS
        models.expect(ours[name], weight * temperature**2 * value
                      + (1 - weight) * F.cross_entropy(models.student, models.labels))


def test_stored_entries_with_a_tail_equal_trl(dump_program, tmp_path):
    """At temperature 1, where both agree: TRL takes the tail of the distribution at temperature T, ours raises the
    events of the store, its tail as one of them, to 1/T on both sides. TRL also keeps the tail above 1e-7."""
    from trl.experimental.server_distillation import server_distillation_trainer as trl

    models = Models(seed=6)
    cases = {f"{kind}{beta}k{k}": (kind, beta, 1.0, 1.0, k)
             for kind, beta in (("forward_kl", 0), ("reverse_kl", 1), ("jsd", 0.5), ("jsd", 0.3)) for k in (1, 5)}
    ours = models.dump(dump_program, tmp_path, [(name, *case) for name, case in cases.items()])
    for name, (_, beta, _, _, k) in cases.items():
        log_q, ids = models.teacher.log_softmax(1).topk(k)
        log_p = models.student.log_softmax(1).gather(1, ids)
        valid = torch.ones_like(log_q, dtype=torch.bool)
        (p, mask), (q, _) = trl._add_tail_bucket(log_p, valid), trl._add_tail_bucket(log_q, valid)
        models.expect(ours[name], trl._jsd_divergence(p, q, beta, mask).sum() / ROWS)


def test_renormalised_entries_are_the_written_out_form(dump_program, tmp_path):
    """DistillKit's ZERO convention: the teacher over its entries alone, the student over the whole vocabulary."""
    models = Models(seed=7)
    ours = models.dump(dump_program, tmp_path, [("zero", "forward_kl", 0, 2.0, 1.0, -5)])
    values, ids = models.teacher.log_softmax(1).topk(5)
    log_q, log_p = (values / 2).log_softmax(1), (models.student / 2).log_softmax(1).gather(1, ids)
    models.expect(ours["zero"], 4 * (log_q.exp() * (log_q - log_p)).sum() / ROWS)


def test_uld_equals_trl(dump_program, tmp_path):
    """TRL's ULDLoss has two temperatures and no factor of their square; its sum is over tokens that both sides have."""
    from trl.experimental.gold.gold_trainer import ULDLoss

    models = Models(seed=8)
    ours = models.dump(dump_program, tmp_path, [("one", "uld", 0, 1.0, 1.0, 0), ("two", "uld", 0, 2.0, 1.0, 0)])
    labels, ids = torch.ones(1, ROWS, dtype=torch.long), torch.zeros(1, ROWS, dtype=torch.long)
    for name, temperature in (("one", 1.0), ("two", 2.0)):
        config = SimpleNamespace(uld_crossentropy_weight=0.0, uld_distillation_weight=1.0,
                                 uld_student_temperature=temperature, uld_teacher_temperature=temperature,
                                 uld_skip_student_eos=False, uld_skip_teacher_eos=False, use_extended_uld=False,
                                 uld_token_merge_strategy="observed")
        loss = ULDLoss(config)(models.student[None], models.all_teacher[None], labels, labels, ids, ids)
        models.expect(ours[name], temperature**2 * loss)


def test_hidden_losses_equal_torch(dump_program, tmp_path):
    models = Models(seed=9)
    ours = models.dump(dump_program, tmp_path, [("mse", "hidden_mse", 0, 1, 1, 0), ("cosine", "hidden_cosine", 0, 1, 1, 0)])
    projected, teacher = models.hidden @ models.arrays["projection"].T, models.arrays["teacher_hidden"]
    models.expect(ours["mse"], F.mse_loss(projected, teacher))
    models.expect(ours["cosine"], (1 - F.cosine_similarity(projected, teacher)).mean())
