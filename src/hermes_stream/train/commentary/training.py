"""Fine-tuning on commentary by transformers' `Trainer`: one stage, from a checkpoint folder to another.

A second, annealing stage is another run that begins with the first one's folder and reads other records.
Shape letters: B batch, T tokens, C columns with labels, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from hermes_stream.errors import ConfigError
from hermes_stream.models.load import load_checkpoint
from hermes_stream.train.commentary.checkpoints import copy_side_files, newest_whole_checkpoint, restore_type
from hermes_stream.train.commentary.dataset import Collator, CommentaryDataset
from hermes_stream.train.commentary.inputs import FrameInputs, frame_inputs
from hermes_stream.train.commentary.layout import NO_LABEL, ChunkLayout, TextLimits, Words
from hermes_stream.train.commentary.records import RecordFile

_PLAIN_WEIGHTS = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)


@dataclass(frozen=True, slots=True)
class Stage:
    """One run over some records. Defaults are the source's, but for the batch, which there is 512 chunks.

    model: a bundled name, a folder or a hub id to begin with. records: files of `records`; one may come twice. videos:
    folder that their paths count from. out: the finished checkpoint's folder; what a run is resumed from is there too.
    fps: sampled frames a second; None: the checkpoint's own. max_steps: instead of whole epochs.
    batch, accumulation: chunks in a forward, forwards in a step. lora_rank: 0 trains the whole language model.
    more: further settings of `TrainingArguments`, FSDP's among them.
    """

    model: str
    records: tuple[Path, ...]
    videos: Path
    out: Path
    fps: float | None = None
    max_pixels: int | None = None
    limits: TextLimits = field(default_factory=TextLimits)
    epochs: float = 1.0
    max_steps: int = -1
    batch: int = 1
    accumulation: int = 64
    learning_rate: float = 1e-5
    warmup_share: float = 0.03
    weight_decay: float = 0.0
    bf16: bool = True
    trains_vision: bool = False
    lora_rank: int = 0
    checkpoints_gradients: bool = True
    save_steps: int = 20
    seed: int = 42
    resumes: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


class CommentaryTrainer(Trainer):  # type: ignore[misc]
    """The stock loop; logits are made only where something is learnt."""

    def __init__(self, *, frames: FrameInputs, **settings: Any) -> None:
        super().__init__(**settings)
        self._frames = frames
        # The loss below is over all labels of a step, however they fall into its batches.
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Mean over the labels of the whole step, or of this batch where nobody counted them."""
        label_BT = inputs["labels"]
        # Column t is predicted from column t - 1.
        column_C = (label_BT[:, 1:] != NO_LABEL).any(dim=0).nonzero()[:, 0]
        arguments = {name: value for name, value in inputs.items() if name != "labels"}
        arguments = self._frames.model_inputs(self.accelerator.unwrap_model(model), arguments)
        outputs = model(**arguments, use_cache=False, logits_to_keep=column_C)
        label_BC = label_BT[:, column_C + 1]
        logits_BCV = outputs.logits.float()
        total = F.cross_entropy(logits_BCV.flatten(0, 1), label_BC.flatten(), ignore_index=NO_LABEL, reduction="sum")
        if num_items_in_batch is None:
            loss = total / (label_BC != NO_LABEL).sum()
        else:
            # Counted over all devices, whose gradients are averaged afterwards.
            loss = total / num_items_in_batch * (self.accelerator.num_processes // self.get_tp_size())
        return (loss, outputs) if return_outputs else loss

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """The stock loop looks for weights under other names than it wrote, and does not mind finding none."""
        is_plain = any((Path(resume_from_checkpoint) / name).is_file() for name in _PLAIN_WEIGHTS)
        if self.is_fsdp_enabled or not is_plain:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        model = self.model if model is None else model
        saved = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        model.load_state_dict(saved.state_dict())


@dataclass(frozen=True, eq=False)
class Setup:
    """What a stage is made of, before it runs."""

    model: Any
    tokenizer: Any
    frames: FrameInputs
    dataset: CommentaryDataset
    trainer: CommentaryTrainer


class _Teller(TrainerCallback):  # type: ignore[misc]
    """Passes each line of the log on."""

    def __init__(self, on_log: Callable[[Mapping[str, float]], None]) -> None:
        self._on_log = on_log

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:  # noqa: ARG002
        if logs is not None and state.is_world_process_zero:
            self._on_log({"step": state.global_step, **logs})


def run_stage(stage: Stage, on_log: Callable[[Mapping[str, float]], None] | None = None) -> list[dict[str, float]]:
    """Train, write the finished checkpoint into `stage.out`, and return the trainer's log.

    on_log: gets each line of the log, with its step. The weights have the type of those that the stage began with.
    Raises ConfigError if there is nothing to resume from, ModelError and SourceError for what cannot be read.
    """
    checkpoint = newest_whole_checkpoint(stage.out) if stage.resumes else None
    setup = prepare(stage)
    if on_log is not None:
        setup.trainer.add_callback(_Teller(on_log))
    setup.trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    setup.trainer.save_state()
    _save(stage, setup)
    return list(setup.trainer.state.log_history)


def prepare(stage: Stage) -> Setup:
    """Load the model, open the records, and make the trainer. Raises ConfigError where accelerate is not installed."""
    if find_spec("accelerate") is None:
        raise ConfigError("training needs accelerate; install hermes-stream[train]")
    checkpoint = load_checkpoint(stage.model)
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    words = Words(tokenizer)
    frames = frame_inputs(model.config, checkpoint.preprocessor, words, stage.max_pixels)
    prompts = frames.prompts.with_settings(checkpoint.defaults.get("commentary", {}))
    fps = stage.fps or float(checkpoint.defaults.get("fps", 2.0))
    files = [RecordFile(path) for path in stage.records]
    layout = ChunkLayout(prompts, words, stage.limits, frames.n_axes)
    dataset = CommentaryDataset(files, stage.videos, frames, layout, fps=fps)
    if not len(dataset):
        raise ConfigError(
            f"no records in {', '.join(map(str, stage.records))}; cut shorter chunks or ask for fewer words"
        )
    model = trainable(model, trains_vision=stage.trains_vision, lora_rank=stage.lora_rank)
    trainer = CommentaryTrainer(
        frames=frames,
        model=model,
        args=_arguments(stage),
        train_dataset=dataset,
        data_collator=Collator(tokenizer.pad_token_id),
    )
    trainer.remove_callback(PrinterCallback)
    return Setup(model, tokenizer, frames, dataset, trainer)


def trainable(model: Any, *, trains_vision: bool, lora_rank: int) -> Any:
    """The model with gradients where it learns: language model and head, or adapters of a rank in their place.

    The vision tower and what joins it to the language model stay as they are unless asked for. Raises ConfigError where
    LoRA is wanted and peft is not installed.
    """
    model.requires_grad_(trains_vision)
    model.model.language_model.requires_grad_(True)
    model.lm_head.requires_grad_(True)
    return _with_lora(model, lora_rank) if lora_rank else model


def _with_lora(model: Any, rank: int) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ConfigError("LoRA needs peft; install hermes-stream[train]") from error
    targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))


def _arguments(stage: Stage) -> TrainingArguments:
    has_accelerator = torch.cuda.is_available()
    settings: dict[str, Any] = {
        "output_dir": str(stage.out),
        "num_train_epochs": stage.epochs,
        "max_steps": stage.max_steps,
        "per_device_train_batch_size": stage.batch,
        "gradient_accumulation_steps": stage.accumulation,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": stage.warmup_share,
        "weight_decay": stage.weight_decay,
        "bf16": stage.bf16,
        "use_cpu": not has_accelerator,
        "activation_checkpointing": stage.checkpoints_gradients,
        "activation_checkpointing_kwargs": {"use_reentrant": False},
        "save_steps": stage.save_steps,
        "save_total_limit": 2,
        "logging_steps": 10,
        "seed": stage.seed,
        "report_to": "none",
        "remove_unused_columns": False,
        "dataloader_pin_memory": has_accelerator,
        "disable_tqdm": True,
    }
    return TrainingArguments(**{**settings, **stage.more})


def _save(stage: Stage, setup: Setup) -> None:
    """The finished checkpoint as an ordinary folder: weights, tokenizer, and what lay beside those it began with."""
    trainer = setup.trainer
    if stage.lora_rank and trainer.is_world_process_zero():
        # Merged, so that the engine needs no peft.
        setup.model.merge_and_unload().save_pretrained(stage.out)
    elif not stage.lora_rank:
        trainer.save_model()
    if not trainer.is_world_process_zero():
        return
    setup.tokenizer.save_pretrained(stage.out)
    copy_side_files(stage.model, stage.out)
    restore_type(stage.model, stage.out)


def learning_curve(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Step and loss of each line of the log that has a loss."""
    return [{"step": int(row["step"]), "loss": round(float(row["loss"]), 4)} for row in history if "loss" in row]
