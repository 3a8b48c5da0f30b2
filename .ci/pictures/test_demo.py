"""Plants changes of the demo, and looks whether the check of its picture finds each: `python -m unittest discover .ci/pictures`."""

import unittest

import demo

PICTURES = [demo.IMAGES / f"demo-{name}.svg" for name in demo.THEMES]


class Demo(unittest.TestCase):
    def setUp(self):
        self.pictures = [path.read_text(encoding="utf-8") for path in PICTURES]
        self.said = "\n".join(demo.lines_of(self.pictures[0]))

    def test_light_and_dark_show_the_same_in_a_picture_of_at_most_forty_lines(self):
        light, dark = map(demo.lines_of, self.pictures)
        self.assertEqual(light, dark)
        self.assertTrue(20 < len(light) <= demo.LINES)
        self.assertTrue(all(len(line) <= demo.COLUMNS for line in light))
        self.assertRegex(light[-1], r"^delivered (\d+) of \1 events, 0 missing, 0 unexpected, 0 copies kept$")

    def test_other_times_numbers_and_folds_are_no_change(self):
        other = self.said.replace("13 of 13 jobs", "7 of 7 jobs").replace("[", "[  1").replace(" and each was\n", "\nand each was ")
        self.assertEqual(demo.faults(self.pictures[0], other), [])

    def test_each_planted_change_is_found(self):
        for old, new in [
            ("jobs confirmed", "jobs published"),
            ("producer enqueue", "producer plan"),
            ("unauthorized", "forbidden"),
            ("0 copies kept", "no copies kept"),
            ("PostHog answers every ninth batch", "PostHog answers each ninth batch"),
        ]:
            with self.subTest(old=old):
                self.assertIn(old, self.said)
                for picture in self.pictures:
                    self.assertTrue(demo.faults(picture, self.said.replace(old, new)))

    def test_a_scene_that_is_not_played_is_named(self):
        with self.assertRaisesRegex(ValueError, "producer enqueue"):
            demo.draw_lines(self.said.replace("producer enqueue", "nothing"))

    def test_what_the_demo_says_is_no_markup(self):
        lines = ["$ cargo demo", "[  1.0s] <b> & \"c\"", "         d"]
        self.assertEqual(demo.lines_of(demo.draw(lines, demo.THEMES["dark"])), lines)


if __name__ == "__main__":
    unittest.main()
