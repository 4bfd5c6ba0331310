import re
from collections.abc import Callable
from pathlib import Path

import pytest
from nltk.tokenize import NLTKWordTokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small byte-level BPE that adds special tokens, truncates and pads: a cost must ignore all three."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "<pad>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the meeting is on Monday, and the report is due on Tuesday"] * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>", length=4)
    folder = tmp_path_factory.mktemp("model")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def nltk_words() -> Callable[[str], list[str]]:
    """NLTK's words sentence by sentence, where every period that ends a word ends a sentence; quotes all alike."""
    tokenizer = NLTKWordTokenizer()

    def cut(text: str) -> list[str]:
        sentences = re.split(r"(?<=\.)(?=\s)|(?<=\.[\])}>\"'»”’])(?=\s)", text)
        found = [word for sentence in sentences for word in tokenizer.tokenize(sentence)]
        return ['"' if word in ("``", "''") else word for word in found]

    return cut
