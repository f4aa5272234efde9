"""``fortctl config`` as a person types it."""

from __future__ import annotations

import tomllib

from support.harness import Shell


def test_settings_are_shown_changed_and_put_back(ready: Shell) -> None:
    rows = {row["name"]: row for row in ready.ok("config", "show")["settings"]}
    assert rows["resume.max_gap"] | {"help": ""} == {
        "name": "resume.max_gap",
        "value": "6h",
        "default": "6h",
        "set": False,
        "type": "duration",
        "help": "",
    }
    ran = ready.run("config", "set", "resume.max_gap", "90m")
    assert (ran.code, ran.doc["changed"], ran.data["value"]) == (0, True, "90m")
    assert ready.run("config", "set", "resume.max_gap", "90m").doc["changed"] is False
    words = ("--json", "config", "set", "hooks.on-held", "--", "/bin/tell", "--loud")
    assert ready.run(*words, json_mode=False).data["value"] == ["/bin/tell", "--loud"]
    assert ready.ok("config", "set", "metrics.listen", "9464", "--this-account")["value"] == "127.0.0.1:9464"
    parsed = tomllib.loads((ready.home / "config.toml").read_text())
    assert parsed["resume"] == {"max_gap": "90m"} and parsed["hooks"] == {"on-held": ["/bin/tell", "--loud"]}
    assert parsed["accounts"]["default"]["settings"] == {"metrics": {"listen": "127.0.0.1:9464"}}
    assert ready.run("config", "get", "resume.max_gap", json_mode=False).out == "90m\n"
    back = ready.ok("config", "set", "resume.max_gap", "--default")
    assert back == {**rows["resume.max_gap"], "robots": []}
    assert "setting changed" in [entry["what"] for entry in ready.ok("audit", "log")["entries"]]


def test_what_is_wrong_is_refused_and_what_is_unknown_is_kept(ready: Shell) -> None:
    file = ready.home / "config.toml"
    file.write_text('[later]\nx = 1\n[resume]\nmax_drift = "lots"\n' + file.read_text())
    for words in (
        ["resume.max_gpa", "1h"],
        ["vault.slot", "keyring"],
        ["resume.max_gap", "soon"],
        ["resume.max_gap"],
        ["resume.max_gap", "1h", "--default"],
    ):
        ran = ready.run("config", "set", *words)
        assert (ran.code, ran.error["code"]) == (2, "USAGE"), words
    ran = ready.run("config", "get", "resume.max_drift")
    assert (ran.code, ran.error["code"]) == (2, "CONFIG")
    shown = ready.run("config", "show")
    assert {warning["code"] for warning in shown.doc["warnings"]} == {"CONFIG", "SETTING_UNKNOWN"}
    assert ready.ok("config", "set", "resume.max_drift", "2.50%")["value"] == "2.5"
    assert tomllib.loads(file.read_text())["later"] == {"x": 1}
