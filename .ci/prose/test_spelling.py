"""Plants misspelt words, and looks whether the spell check with the project's settings finds each."""

import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPOS = pathlib.Path(sys.executable).with_name("typos")


def misspelt(text):
    """What the spell check says of a text."""
    command = [TYPOS, "--config", ROOT / "_typos.toml", "--format", "brief", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False).stdout


class Spelling(unittest.TestCase):
    def test_a_misspelt_word_is_found_in_prose_and_in_code(self):
        for text, word in [
            ("The databse is read once.", "databse"),
            ("fn recieve_answer() {}", "recieve"),
            ("// It ocurred twice.", "ocurred"),
            ('"see 00f067aa0ba902b7 and teh rest"', "teh"),
        ]:
            with self.subTest(text=text):
                self.assertIn(f"`{word}`", misspelt(text))

    def test_ids_and_names_of_crates_are_no_words(self):
        for text in ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "It is compressed with flate2."]:
            self.assertEqual(misspelt(text), "")


if __name__ == "__main__":
    unittest.main()
