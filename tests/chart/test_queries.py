"""Alerts and dashboards ask for what there is."""

import json
import re

import queries
import yaml
from rendering import dashboards


def test_the_five_dashboards_are_there_and_each_has_its_own_name():
    boards = [json.loads(path.read_text()) for path in dashboards()]
    assert [path.stem for path in dashboards()] == ["azure", "cluster", "fleet", "money", "operator"]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == 5


def test_every_panel_has_a_place_a_number_and_a_source_that_people_choose():
    for path in dashboards():
        board = json.loads(path.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids)), path.stem
        taken = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24, panel["title"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, f"{path.stem}: {panel['title']} lies over another"
            taken |= cells
            for target in panel.get("targets", []):
                assert target["datasource"]["uid"] == "${datasource}", panel["title"]
                used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
                assert used <= queries.variables(board), panel["title"]


def test_prometheus_can_read_every_query(promtool, tmp_path):
    asked = list(queries.of_dashboards())
    assert len(asked) > 60
    rules = [{"record": f"query:{number}", "expr": query.expression} for number, query in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    assert not promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", folder=tmp_path)


def test_a_query_that_prometheus_cannot_read_would_be_told(promtool, tmp_path):
    rules = [{"record": "query:0", "expr": "sum by (name (daskcluster_info)"}]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    assert promtool("check", "rules", "rules.yaml", folder=tmp_path)


def test_every_metric_is_on_the_page_of_metrics_with_the_labels_that_are_asked_for(everything):
    documented = queries.documented()
    assert len(documented) > 20
    for query in [*queries.of_alerts(everything), *queries.of_dashboards()]:
        named = queries.metrics(query.expression)
        assert named, query
        unknown = named - set(documented) - queries.OF_PROCESS
        assert not unknown, f"{query.where}: {unknown}"
        known = set().union(*(documented.get(name, set()) for name in named)) | queries.ADDED_LABELS
        assert queries.labels(query.expression) <= known, query


def test_every_metric_of_the_page_is_in_an_alert_or_on_a_dashboard(everything):
    asked = [*queries.of_alerts(everything), *queries.of_dashboards()]
    shown = set().union(*(queries.metrics(query.expression) for query in asked))
    of_operator = {name for name in queries.documented() if not name.startswith("process_")}
    assert sorted(of_operator - shown) == []
