"""Turn the text tower of an open_clip model into what Stable Diffusion calls its text encoder.

The vocabulary is cut down to the byte-level alphabet and the merges that given texts need: known texts
are tokenised as before, other words fall apart into smaller known pieces.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

START = "<|startoftext|>"
END = "<|endoftext|>"
_N_MERGES = 49152 - 256 - 2


@dataclass(frozen=True)
class SmallVocabulary:
    """A part of CLIP's byte-pair vocabulary.

    Attributes
    ----------
    tokens : tuple[str, ...]
        Tokens in the order of their new indices.
    merges : tuple[tuple[str, str], ...]
        Byte-pair merges in the order of their rank.
    old_indices : tuple[int, ...]
        Index of each token in the full vocabulary.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    old_indices: tuple[int, ...]


def cut_vocabulary(texts: Iterable[str]) -> SmallVocabulary:
    """Keep of CLIP's vocabulary what the texts need.

    Parameters
    ----------
    texts : Iterable[str]
        Texts whose tokens must stay the same.
    """
    full = SimpleTokenizer()
    needed = {full.decoder[index] for text in texts for index in full.encode(text)}
    pairs = {"".join(pair): pair for pair in _all_merges()}
    merges: set[tuple[str, str]] = set()
    pending = [token for token in needed if token in pairs]
    while pending:
        pair = pairs[pending.pop()]
        merges.add(pair)
        pending += [part for part in pair if part in pairs and pairs[part] not in merges]
    alphabet = [full.decoder[index] for index in range(512)]
    ranked = tuple(pair for pair in pairs.values() if pair in merges)
    tokens = (*alphabet, *("".join(pair) for pair in ranked), START, END)
    special = {START: full.sot_token_id, END: full.eot_token_id}
    old_indices = tuple(special.get(token, full.encoder.get(token, 0)) for token in tokens)
    return SmallVocabulary(tokens, ranked, old_indices)


def _all_merges() -> list[tuple[str, str]]:
    packed = (files(open_clip) / "bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")[1 : _N_MERGES + 1]
    return [(first, second) for first, second in (line.split() for line in lines)]


def make_tokenizer(vocabulary: SmallVocabulary, context_length: int) -> CLIPTokenizer:
    """Build the tokenizer of the generator.

    Parameters
    ----------
    context_length : int
        Length to which prompts are padded and cut.
    """
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(vocabulary.tokens)},
        merges=list(vocabulary.merges),
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token="!",  # noqa: S106 - what open_clip pads with
        model_max_length=context_length,
    )


def convert_text_tower(clip: open_clip.CLIP, vocabulary: SmallVocabulary) -> CLIPTextModel:
    """Copy the text tower of an open_clip model into a CLIPTextModel with the same hidden states.

    Parameters
    ----------
    clip : open_clip.CLIP
        Any with a plain text transformer.
    """
    tower = clip.state_dict()
    table = tower["token_embedding.weight"][list(vocabulary.old_indices)]
    n_layers = 1 + max(
        int(name.split(".")[2]) for name in tower if name.startswith("transformer.resblocks.")
    )
    config = CLIPTextConfig(
        vocab_size=len(vocabulary.tokens),
        hidden_size=table.shape[1],
        intermediate_size=tower["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        projection_dim=tower["text_projection"].shape[1],
        num_hidden_layers=n_layers,
        num_attention_heads=clip.transformer.resblocks[0].attn.num_heads,
        max_position_embeddings=tower["positional_embedding"].shape[0],
        hidden_act="gelu",
        bos_token_id=vocabulary.tokens.index(START),
        eos_token_id=vocabulary.tokens.index(END),
        pad_token_id=vocabulary.tokens.index("!"),
    )
    model = CLIPTextModel(config)
    converted = _rename(tower, n_layers)
    converted["embeddings.token_embedding.weight"] = table
    prefix = "text_model." if hasattr(model, "text_model") else ""
    model.load_state_dict({prefix + name: value for name, value in converted.items()})
    return model.eval().requires_grad_(False)


def _rename(tower: dict[str, torch.Tensor], n_layers: int) -> dict[str, torch.Tensor]:
    renamed = {
        "embeddings.position_embedding.weight": tower["positional_embedding"],
        "final_layer_norm.weight": tower["ln_final.weight"],
        "final_layer_norm.bias": tower["ln_final.bias"],
    }
    same = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    for layer in range(n_layers):
        old, new = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
        for part in ("weight", "bias"):
            for new_name, old_name in same.items():
                renamed[f"{new}.{new_name}.{part}"] = tower[f"{old}.{old_name}.{part}"]
            stacked = tower[f"{old}.attn.in_proj_{part}"].chunk(3)
            for name, value in zip("qkv", stacked, strict=True):
                renamed[f"{new}.self_attn.{name}_proj.{part}"] = value
    return renamed
