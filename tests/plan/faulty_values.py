"""Raw YAML values that are wrong where they are put, and the places of a sweep, by kind; separated by ` | `."""

from __future__ import annotations

LONG = "x" * 300
BOMB = (
    "[&a [x, x, x, x, x, x, x, x, x, x], &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a], "
    + ", ".join(f"&{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("bcdefg", "cdefgh", strict=True))
    + "]"
)


def _values(text: str) -> list[str]:
    """Return the values of a text, each line of which ends where a value does."""
    return [value for line in text.strip("\n").splitlines() for value in line.split(" | ")]


NEVER = _values(r"""
!!pairs [a: 1] | !!omap [a: 1] | !!set {a, b} | !!binary aGVsbG8=
!!python/object/apply:os.system [true] | !!timestamp 2024-01-01 | !mine x | "\0" | "\ud800"
"\UFFFFFFFF" | *nothing | &a [*a] | {a: 1, a: 2} | {[1]: 2} | 0100 | -0777 | {<<: 3} | 'unclosed
[1, 2 | a: b: c | {? [a, b] : c} | @x | `x | %x | {x: {y: [3]}}
""")
NO_NUMBER = _values("""
true | false | yes | on | abc | 1:30 | 1:30:20 | 1_000 | .nan | .inf | -.inf | 1e400 | '' | [[]]
{a: 1} | 2024-01-01 | -1 | 1e30 | 1000000000000000000000000000000 | 0x1p3 | '0100' | 1,000 | 0b11
""")
NO_WHOLE = _values("""
1.5 | 1e-3 | 0.1e0
""")
NO_FLAG = _values("""
yes | no | on | off | 1 | 0 | 'true' | 1.0 | [] | {a: 1} | abc
""")
NO_TEXT = _values("""
true | 3 | 1.5 | [] | {a: 1} | 1e5
""")
NO_LIST = _values("""
abc | 3 | true | {a: 1} | [] | ''
""")
NO_MAPPING = _values("""
abc | 3 | true | [1] | [] | ''
""")
NO_CHOICE = _values("""
abc | 3 | true | [fp32] | {a: b} | ''
""")
WHOLE = _values("""
seeds.0 | rank.0 | training.epochs | training.batch_size | training.max_length | base.rank
training.validate_every | resources.workers | resources.pack_size | resources.max_concurrent
resources.zero_stage | resources.translators | resources.translation_tokens | resources.max_attempts
models.0.micro_batch | searches.0.configurations | searches.0.halving | searches.0.parallel
searches.0.seeds | axes.max_length.0 | max_runs | methods.2.source_offset
""")
NUMBER = _values("""
alpha | training.learning_rate | training.warmup | training.dropout | training.weight_decay
training.max_grad_norm | max_dropped | resources.cpus_per_worker | resources.gpus_per_worker
resources.price_per_hour | searches.0.rungs.0 | searches.0.space.learning_rate.low | axes.dropout.0
resources.source_cache_mb | base.alpha
""")
FLAG = _values("""
models.0.gradient_checkpointing | resources.prefetch | searches.0.baseline | methods.2.train_only
""")
TEXT = _values("""
name | storage | models.0.name | models.0.checkpoint | data.nusax | tracking.uri | tasks.0
methods.0
""")
LIST = _values("""
models | tasks | seeds | rank | fusion | methods | axes.learning_rate | searches.0.rungs
""")
MAPPING = _values("""
training | base | resources | tracking | axes | data | searches.0.space | overrides.0.training
""")
CHOICE = _values("""
precision | models.0.precision | models.0.quantization | models.0.family | searches.0.sampler
searches.0.over | resources.source_cache | fusion.0 | tasks.0 | methods.0
""")
STORAGE = _values(r"""
'' | ' ' | s3:/bucket | s3:bucket | $SCRATCH/x | ${HOME}/x | ~nouser/x | memory://x | http://h/x
https://h/x | ftp://h/x | github://o:r@main/x | zip://a.zip | zip://x::s3://b/a.zip | s4://b/x
filecache::s3://b/x | simplecache::gs://b | reference:// | file:/x | file://host/x | S3://b/x
s3:// | gs:// | az:// | hdfs://h/x | webdav://h/x | dropbox://x | git://x | tar://x | tar:x::y
dir://x | jlab://x | blockcache::http://x | /dev/null | "a\tb" | s3://$B/x | asynclocal::x
libarchive://x | generic://x | lakefs://x
""")
REFERENCE = _values("""
'' | a b | $HOME/model | $MODEL | a:b | https://hub/x | org/na me | /no/such/folder | ./none
~nouser/x | sandbox:nope | sandbox: | /dev/null | /dev/zero | org/x@ | a@b@c
""")
RULES = _values("""
{} | [] | 3 | abc | {model: nope} | {method: flair} | {rank: 5} | {rank: true} | {rank: '4'}
{language: xxx} | {nope: 1} | {rank: []} | {rank: {a: 1}} | {fusion: [add_relu, nope]} | {task: [1]}
{learning_rate: true} | {learning_rate: [[1]]} | {train_only: 1} | {method: [[flare]]}
{rank: null}
""")
SPACES = _values("""
{rank: [on, 16]} | {rank: [true]} | {rank: ['8']} | {rank: [1.5]} | {rank: {low: 1}} | {rank: 3}
{} | {rank: {low: 8, high: 4}} | {rank: {low: true, high: 4}} | {nope: [1]} | {rank: []}
{dropout: [2]} | {rank: [1, 1]} | {learning_rate: {low: 0, high: 1, log: true}}
{learning_rate: [.nan]} | {rank: abc} | {rank: {low: 1, high: .inf}} | {source_offset: [true]}
{train_only: [1]} | {fusion: [nope]} | {rank: {low: 1, high: 1e30}}
{source_offset: {low: 0, high: 1.5}} | {learning_rate: [1:30]}
""")
OVERRIDES = _values("""
{} | 3 | [] | {model: nope, training: {epochs: 1}} | {training: {}} | {training: {epoch: 3}}
{training: {epochs: yes}} | {method: flare, base: {epochs: 1}} | {resources: {pack_size: 3}}
{task: xnli, training: {epochs: 1}} | {resources: {gpus_per_worker: 2.5}} | {base: {rank: 1e30}}
""")
SETS = _values("""
rank | =3 | .=3 | a..b=1 | rank=[ | rank=0 | rank=[on] | name=0100 | x=1 | training=3
training.epochs=true | seeds=[1, 1] | name=a/b | models.0.name=x | rank=!!set {1} | extends=3
languages=[] | storage= | exclude=[{task: nusax}] | include=[{method: lora, rank: 99}] | methods=[]
=
""")

NEVER += ["9" * 5000, "[" * 3000, "{a: " * 3000, BOMB]
STORAGE += [LONG, f"a/{LONG}/b", "a/" * 3000, "s3://b/" + "x" * 2000, "' '"]
REFERENCE += [LONG, f"/tmp/{LONG}"]
SETS += [
    f"{'a.' * 200}b=1",
    f"seeds=[{', '.join(map(str, range(20_000)))}]",
    f"name={LONG}",
    "rank=[1]\n[",
    "",
]
FINE = {("searches.0.rungs", "[]"), ("methods", "[]")}
"""Places that do take a value of the lists above."""

DOCUMENTS = {
    "empty": b"",
    "blank": b"\n\n  \n",
    "comment": b"# nothing\n",
    "null": b"~\n",
    "text": b"just words\n",
    "number": b"42\n",
    "list": b"- a\n- b\n",
    "two documents": b"name: a\n---\nname: b\n",
    "tab": b"name: x\n\tseeds: [1]\n",
    "json with nul": b'{"name": "a\x00"}',
    "nul": b"\x00" * 100,
    "utf-16": "name: a\n".encode("utf-16"),
    "utf-32": "name: a\n".encode("utf-32"),
    "latin-1": "# ok\nname: caf\u00e9\n".encode("latin-1"),
    "binary": bytes(range(256)) * 40,
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "control": b"name: a\x07b\n",
    "10 MB of text": b"name: " + b"x" * 10_000_000,
    "10 MB of comments": b"# x\n" * 2_500_000,
    "10 MB of values": b"seeds: [" + b"1, " * 3_300_000 + b"]",
    "many keys": b"".join(b"k%d: 1\n" % n for n in range(9_000)),
    "many models": b"models: [" + b", ".join(b"xlm%d" % n for n in range(9_000)) + b"]",
    "many rules": b"exclude:\n" + b"".join(b"- {rank: %d}\n" % n for n in range(3_000)),
    "long key": b"k" * 100_000 + b": [" + b"1, " * 5000 + b"]",
    "deep blocks": b"".join(b" " * n + b"a:\n" for n in range(300)),
    "dashes": b"- " * 60_000,
    "questions": b"? " * 60_000,
    "alias bomb": f"a: {BOMB}".encode(),
    "directive": b"%YAML " + b"9" * 5000 + b".1\n--- a: 1",
    "tags": b"%TAG ! tag:x,2000:\n" * 5000 + b"--- {}",
    "long line": b"name: '" + b"a'' " * 30_000,
    "emoji": ("name: " + "\U0001f600" * 20_000).encode(),
}
