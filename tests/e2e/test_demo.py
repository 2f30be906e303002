"""`recsys demo --exit`, as somebody sees it who has just installed the package."""

import re

from shops import process


def test_the_demo_shows_data_training_metrics_and_titled_answers_and_ends_with_0():
    done = process("demo", "--exit")
    assert done.status == 0, done.err
    titles = re.findall(r"^== (.+) ==$", done.out, re.MULTILINE)
    assert [title.split(" on ")[0] for title in titles] == [
        "A simulated shop",
        "Checks",
        "Training",
        "Evaluation",
        "Answers over gRPC",
    ]
    assert re.search(r"^events +\d+,\d+", done.out, re.MULTILINE)
    assert "\nusable\n" in done.out
    assert "fit all sources up to the end" in done.err
    assert re.search(r"^most popular +0\.\d{4}", done.out, re.MULTILINE)
    assert re.search(r"^stage 1 merged +0\.\d{4}", done.out, re.MULTILINE)
    assert re.search(r"^two-stage +0\.\d{4}", done.out, re.MULTILINE)
    answers = done.out.split("== Answers over gRPC ==")[1]
    heads = re.findall(r"^(.+)  \((.+)\)$", answers, re.MULTILINE)
    assert [served for _, served in heads] == ["model", "model", "popular cache", "model"]
    assert "somebody-new" in heads[2][0]
    assert heads[3][0].startswith("somebody-new, who has just looked at ")
    assert "last seen: " in heads[0][0]
    items = re.findall(r"^ +(\d+)  (\S.+?) +[a-z_]+(?:, [a-z_]+)*$", answers, re.MULTILINE)
    assert [int(rank) for rank, _ in items] == [1, 2, 3, 4, 5] * 4
    assert all(" " in title for _, title in items), "titles, not ids"
    slates = [frozenset(title for _, title in items[start : start + 5]) for start in range(0, 20, 5)]
    assert len(set(slates)) == 4
