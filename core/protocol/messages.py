"""Everything that crosses a pipe or a socket between the front process and a worker. The authority on the protocol.

Requests go down, events come up; both are plain values, large results travel as file paths. Invariant: every job is
answered by events that carry its job_id and end with exactly one Finished or Failed.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from core.chat.turns import FinishReason, ReplyFigures, Sampling, Turn
from core.data.conversation import Mask
from core.data.problems import Problem
from core.data.report import DataReport
from core.data.shape import Columns
from core.errors import Param
from core.load_options import LoadOptions
from core.protocol.job import Job as Job
from core.protocol.profiling import ProfileEvent, ProfileJob
from core.protocol.serving import OpenDoor, ServingEvent
from core.sources import Access, Source

PROTOCOL_VERSION = 3

FailureKind = Literal["user", "oom", "bug", "died"]

# --- front -> worker ---------------------------------------------------------


class LoadModel(Job, frozen=True, tag=True):
    """Load the model of `folder` in place of the present one; answered by ModelLoaded."""

    name: str
    folder: str
    options: LoadOptions = LoadOptions()


class Generate(Job, frozen=True, tag=True):
    """Answer `turns`. With `continues` the last turn is the assistant's and is written on.

    A model that knows no conversations (a base model) writes the text of all turns on, put one after the other.

    thinking: None leaves it to the model's template, False asks for an answer without thinking where the template can.
    adapter: the folder of the adapter to answer with; "" for the model alone
    """

    turns: tuple[Turn, ...]
    sampling: Sampling = Sampling()
    thinking: bool | None = None
    continues: bool = False
    adapter: str = ""


class GenerateBatch(Job, frozen=True, tag=True):
    """Answer many conversations, several at a time; answered by one BatchAnswer each, in any order.

    Its Progress counts the tokens of all answers. Conversations that a cancel left unanswered get no BatchAnswer.
    """

    conversations: tuple[tuple[Turn, ...], ...]
    sampling: Sampling = Sampling()
    thinking: bool | None = None
    adapter: str = ""


class CountTokens(Job, frozen=True, tag=True):
    """How long `turns` are as a prompt; answered by TokensCounted."""

    turns: tuple[Turn, ...]


class Tokenize(Job, frozen=True, tag=True):
    """The ids of `text` with the tokenizer of `folder`; answered by Tokenized.

    unsafe_special: added tokens in the text become control tokens. Never used for what a user typed into a chat.
    """

    folder: str
    text: str
    unsafe_special: bool = False


class MeasureForms(Job, frozen=True, tag=True):
    """How fast this processor multiplies by each form of weights; kept by core.profiling.form_speeds."""


class PullModel(Job, frozen=True, tag=True):
    """Fetch `name` of the catalogue and put it into `models_folder`; answered by Progress and ModelStored."""

    name: str
    models_folder: str
    proxy: str = ""


class DownloadModel(Job, frozen=True, tag=True):
    """Fetch a repository of a hub and put it into `models_folder` as `name`; answered by Progress and ModelStored.

    sources: the same model, the preferred one first; the next is asked when one cannot be reached. accesses: how each
    hub is reached. Stopped early it keeps what has come, and the same job goes on from there.
    file: the one GGUF file to take, "" for what is needed; base: of an adapter, as for ImportModel
    """

    name: str
    models_folder: str
    sources: tuple[Source, ...]
    accesses: tuple[Access, ...] = ()
    proxy: str = ""
    file: str = ""
    base: str = ""
    convert_pickle: bool = False


class ImportModel(Job, frozen=True, tag=True):
    """Take the folder or GGUF file `source` into the library as `name`; answered by Progress and ModelStored.

    base: of an adapter, the name or folder of the model it belongs to; "" for the one it names itself
    keeps: the library gets files of its own, the same ones where the disk allows (hard links), since those in a cache
    may be cleared away; else a folder is used where it lies. came_from: what to say of its origin, "" for its place
    """

    source: str
    name: str
    models_folder: str
    convert_pickle: bool = False
    base: str = ""
    keeps: bool = False
    came_from: str = ""


class MergeAdapter(Job, frozen=True, tag=True):
    """Work an adapter into its base model, prove it, and put the result into `models_folder` as `name`; answered by
    Progress and ModelStored.

    adapter, base: folders; adapter_name, base_name: for people; out: a folder outside the library in its place
    int4: rounded to 4 bits, into `out` only
    """

    adapter: str
    base: str
    adapter_name: str
    base_name: str
    name: str
    models_folder: str
    out: str = ""
    int4: bool = False


class WriteInt4(Job, frozen=True, tag=True):
    """Write the model of `folder` in 4 bits into the new folder `out`; answered by Progress and ModelStored."""

    folder: str
    out: str


class VerifyModel(Job, frozen=True, tag=True):
    """Compare every file of the model whose manifest lies in `folder` with its recorded checksum."""

    folder: str


class DataFile(Struct, frozen=True):
    """A file of training data, and how it shall be looked at.

    columns: which one holds what, where the user has said so; model_folder: whose tokens count, "" for none
    length: rows are cut after so many tokens, 0 for never
    """

    path: str
    columns: Columns = Columns()
    model_folder: str = ""
    mask: Mask = "answers"
    length: int = 0


class CheckData(Job, frozen=True, tag=True):
    """Read a file of training data whole; answered by Progress and DataChecked.

    validation_share: of the rows, what is put aside; eval_data: a file of questions kept apart, whose rows shall not be
    among those trained on, "" for none
    """

    data: DataFile
    validation_share: float = 0.0
    eval_data: str = ""


class ShowRow(Job, frozen=True, tag=True):
    """One row (1-based) as the model will see it; answered by RowShown."""

    data: DataFile
    row: int


class MendData(Job, frozen=True, tag=True):
    """Write a mended copy to `target`, which must not exist; answered by Progress and DataMended.

    fix: codes of problems to mend, each by its own fix; drop: codes whose rows are left out instead
    """

    data: DataFile
    target: str
    fix: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class Train(Job, frozen=True, tag=True):
    """A training run that belongs to `run_dir`; only ever given to a detached worker."""

    run_dir: str


class Cancel(Struct, frozen=True, tag=True):
    """End a job early; it answers Finished("cancelled"). Unknown and finished ids are ignored."""

    job_id: str


class Pause(Struct, frozen=True, tag=True):
    job_id: str


class Resume(Struct, frozen=True, tag=True):
    job_id: str


class Shutdown(Struct, frozen=True, tag=True):
    pass


JobRequest = (
    LoadModel
    | Generate
    | GenerateBatch
    | CountTokens
    | Tokenize
    | MeasureForms
    | PullModel
    | DownloadModel
    | ImportModel
    | MergeAdapter
    | WriteInt4
    | VerifyModel
    | CheckData
    | ShowRow
    | MendData
    | Train
    | ProfileJob
    | OpenDoor
)
Request = JobRequest | Cancel | Pause | Resume | Shutdown

# --- worker -> front ---------------------------------------------------------


class Hello(Struct, frozen=True, tag=True):
    pid: int
    protocol: int = PROTOCOL_VERSION


class Heartbeat(Struct, frozen=True, tag=True):
    pass


class FileProgress(Struct, frozen=True):
    """How far one file of a download is, in bytes."""

    name: str
    done: int
    total: int


class Progress(Struct, frozen=True, tag=True):
    """How far a job is. `stage` is a key of the catalogue (`progress.<stage>`); unit says what `done` counts.

    files: of a download, those that have changed since the last time they were told
    """

    job_id: str
    done: int
    total: int | None = None
    stage: str = ""
    unit: Literal["bytes", "tokens", "steps", "files", "rows"] = "steps"
    detail: str = ""
    files: tuple[FileProgress, ...] = ()


class Notice(Struct, frozen=True):
    """Something worth knowing that is no error; its sentence is `notice.<code>`."""

    code: str
    params: dict[str, Param] = {}


class ModelLoaded(Struct, frozen=True, tag=True):
    """The model is ready. The reasons are keys of the catalogue (`reason.<key>`).

    precision: of what is computed; weights: how they lie in memory, "bfloat16" ... "int8", "int4", "nf4"
    backend: what multiplies by them, "" for plain weights
    family: a key of core/models/families.py
    thinking: whether replies begin with thinking: "switch" unless told otherwise, "asked" only when told to
    trained_length: tokens the model has been trained on; from there on to context_length it is extended
    ntk, logn: how the first generation extends it
    placement: (device, what lies there) where the model is spread over several
    """

    job_id: str
    name: str
    architecture: str
    device: str
    device_reason: str
    precision: str
    precision_reason: str
    parameters: int
    weight_bytes: int
    context_length: int
    can_chat: bool
    can_think: bool
    seconds: float
    family: str = ""
    thinking: Literal["none", "switch", "asked", "always"] = "none"
    weights: str = ""
    backend: str = ""
    backend_reason: str = ""
    kv_cache: str = "plain"
    attention: str = "sdpa"
    trained_length: int = 0
    ntk: bool = False
    logn: bool = False
    placement: tuple[tuple[str, str], ...] = ()
    notices: tuple[Notice, ...] = ()


class PromptRead(Struct, frozen=True, tag=True):
    """The prompt is in the KV cache; the first token comes next.

    prompt_tokens: 0 where another machine has read it, which counts at the end if at all
    dropped_turns: how many of the oldest turns were left out because the conversation is longer than the window.
    ntk_alpha: how far the first generation stretched its positions for this prompt; 1 is not at all
    """

    job_id: str
    prompt_tokens: int
    reused_tokens: int
    dropped_turns: int = 0
    ntk_alpha: float = 1.0


class TextDelta(Struct, frozen=True, tag=True):
    """More text of a reply: whole characters only. `thinking` marks the part before the answer.

    tokens: how many tokens this piece holds, so that a reader can count without a tokenizer.
    """

    job_id: str
    text: str
    thinking: bool = False
    tokens: int = 1


class TokensCounted(Struct, frozen=True, tag=True):
    job_id: str
    tokens: int


class Token(Struct, frozen=True, gc=False):
    """text: as people read it, U+FFFD for a part of a character; data: the bytes it stands for."""

    id: int
    text: str
    is_control: bool = False
    data: bytes = b""


class Tokenized(Struct, frozen=True, tag=True):
    """A job may give several, in the order of the text: a long one in pieces that no reader is held up by.

    entries: tokens the vocabulary knows; rows: those of the model's tables, which are often more (0: not known)."""

    job_id: str
    tokens: tuple[Token, ...]
    entries: int = 0
    rows: int = 0


class BatchAnswer(Struct, frozen=True, tag=True):
    """The reply to one conversation of a GenerateBatch; `index` is its place in the request.

    error, params: why there is none, `error.<error>` of the catalogue; the other conversations go on
    """

    job_id: str
    index: int
    text: str
    thinking: str
    reason: FinishReason
    prompt_tokens: int
    new_tokens: int
    error: str = ""
    params: dict[str, Param] = {}


class ModelStored(Struct, frozen=True, tag=True):
    """The model is whole and in the library; its facts stand in the manifest in `folder`. One that was asked for
    elsewhere lies there, without a manifest."""

    job_id: str
    folder: str
    notices: tuple[Notice, ...] = ()


class FileVerified(Struct, frozen=True, tag=True):
    job_id: str
    name: str
    is_intact: bool


class DataChecked(Struct, frozen=True, tag=True):
    job_id: str
    report: DataReport


class RowShown(Struct, frozen=True, tag=True):
    """text: the row as it stands in the file; tokens: what it is for the model, the first ones where there are very
    many, `count` in all; learned: for each of them whether it counts for the loss.

    cut: tokens past the length asked for; cut_learned: the learned ones of them
    """

    job_id: str
    row: int
    line: int
    text: str
    problems: tuple[Problem, ...] = ()
    tokens: tuple[Token, ...] = ()
    learned: tuple[bool, ...] = ()
    count: int = 0
    count_learned: int = 0
    cut: int = 0
    cut_learned: int = 0
    is_validation: bool = False


class DataMended(Struct, frozen=True, tag=True):
    """rows: of the original; kept: of the new file; changed: those of them that are not as they were"""

    job_id: str
    path: str
    rows: int
    kept: int
    changed: int


class Metrics(Struct, frozen=True, tag=True):
    job_id: str
    step: int
    values: dict[str, float]


class RunState(Struct, frozen=True, tag=True):
    """pausing, stopping: at the end of the present step, after its checkpoint."""

    job_id: str
    state: Literal["running", "pausing", "stopping"]
    step: int


class CheckpointSaved(Struct, frozen=True, tag=True):
    job_id: str
    step: int
    folder: str


class Finished(Struct, frozen=True, tag=True):
    """paused: a training run that keeps its checkpoint and has given its memory back."""

    job_id: str
    reason: FinishReason = "stop"
    figures: ReplyFigures | None = None


class Failed(Struct, frozen=True, tag=True):
    """The job is over. `code` and `params` make the sentence (`error.<code>`); `detail` is for the log only."""

    job_id: str
    kind: FailureKind
    code: str
    params: dict[str, Param] = {}
    detail: str = ""


JobEvent = (
    Progress
    | ModelLoaded
    | PromptRead
    | TextDelta
    | TokensCounted
    | Tokenized
    | BatchAnswer
    | ModelStored
    | FileVerified
    | DataChecked
    | RowShown
    | DataMended
    | Metrics
    | RunState
    | CheckpointSaved
    | ProfileEvent
    | ServingEvent
    | Finished
    | Failed
)
Event = Hello | Heartbeat | JobEvent
