//! What is reported of made-up samples.

use std::time::Duration;

use super::super::rows::rows;
use super::super::tools::OwnReport;
use super::*;

/// A target that did 100 operations a millisecond before and `share` percent of that during.
fn sample(tool: Tool, pause_ms: u64, total_ms: u64, share: u64) -> Sample {
    let interval = |writes, stop| Interval {
        elapsed_ns: 1_000_000,
        longest_stop_ns: stop,
        longest_gap_ns: stop + 1000,
        writes,
        write_p50_ns: 500,
        write_p99_ns: 1000,
        write_max_ns: 2000,
    };
    let own = OwnReport {
        pause_ns: pause_ms * 1_000_000,
        pause: BTreeMap::from([("scan".to_owned(), 3), ("protect".to_owned(), 5)]),
        faults: 7,
        peak_buffer_bytes: 4096,
    };
    Sample {
        before: interval(100, 10_000),
        during: interval(share, pause_ms * 1_000_000),
        huge_share: 0.0,
        dump: Dump {
            total: Duration::from_millis(total_ms),
            core: "core".into(),
            peak_rss: Bytes::mib(72),
            own: (tool == Tool::Faultless).then_some(own),
        },
        core: Settled {
            sync: Duration::from_millis(100),
            length: Bytes::mib(513),
            stored: Bytes::mib(512),
        },
    }
}

fn written(took_ms: u64) -> Written {
    Written { took: Duration::from_millis(took_ms), bytes: Bytes::mib(512), direct: true }
}

fn case() -> Case {
    let rounds = |tool, pauses: [u64; 3], total, share| {
        (tool, pauses.map(|pause| sample(tool, pause, total, share)).into())
    };
    Case {
        size: Bytes::mib(512),
        pages: PageKind::Base,
        samples: BTreeMap::from([
            rounds(Tool::Faultless, [10, 20, 10], 900, 60),
            rounds(Tool::Cached, [10, 20, 10], 800, 60),
            rounds(Tool::Gcore, [1000, 2000, 1500], 1000, 0),
        ]),
        disk: [400, 500, 625].map(written).into(),
    }
}

#[test]
fn ratios_are_named_after_size_and_pages() {
    let mut ratios = BTreeMap::new();
    case().add_ratios(Bytes::mib(64), &mut ratios);
    let expected = [
        ("cached_512m_4k", 0.8),
        ("disk_512m_4k", 2.0),
        ("gap_512m_4k", 1_000_001_000.0 / 10_001_000.0),
        ("memory_512m_4k", 0.75),
        ("pause_512m_4k", 100.0),
        ("synced_512m_4k", 1000.0 / 1100.0),
        ("throughput_512m_4k", 0.6),
        ("total_512m_4k", 0.9),
        ("write_p99_512m_4k", 1.0),
    ];
    assert!(ratios.keys().eq(expected.iter().map(|(name, _)| name)), "{ratios:?}");
    for (name, value) in expected {
        assert!((ratios[name] - value).abs() < 1e-3 * value, "{name}: {}", ratios[name]);
    }
}

#[test]
fn findings_say_whether_what_was_wanted_is_there() {
    let findings = case().findings(Bytes::mib(64));
    assert_eq!(
        findings[0],
        "512 MiB of 4k pages: the pause is 100 times shorter, as wanted (50 and more)"
    );
    let times = [
        "0.900 of gcore's total time, as wanted",
        "0.800 if it leaves the core",
        "0.909 until both",
    ];
    assert!(times.iter().all(|time| findings[1].contains(time)), "{}", findings[1]);
    assert!(findings[2].ends_with("2.00 times the time the disk itself needs for as many bytes"));
    assert!(findings[3].contains("72 MiB resident, within the 64 MiB"), "{}", findings[3]);
}

#[test]
fn a_disk_that_was_reached_through_the_page_cache_is_said_to_be() {
    let mut case = case();
    case.disk[1].direct = false;
    let findings = case.findings(Bytes::mib(64));
    assert!(findings[2].ends_with("as many bytes, through the page cache"), "{}", findings[2]);
    assert_eq!(rows(&case)[3].cells()[1], "disk (cached)");
}

#[test]
fn a_row_is_plain_json_with_the_sides_that_apply() {
    let rows = serde_json::to_value(rows(&case())).expect("expressible");
    assert_eq!(rows[0]["tool"], "faultless");
    assert_eq!(rows[0]["pages"], "4k");
    assert_eq!(rows[0]["pause_ns"]["median"], 10e6);
    assert_eq!(rows[0]["own"]["pause_parts_ns"]["protect"], 5.0);
    assert_eq!(rows[1]["tool"], "--no-sync");
    assert_eq!(rows[2]["tool"], "gcore");
    assert!(rows[2]["own"].is_null());
    assert_eq!(rows[3]["tool"], "disk");
    assert_eq!(rows[3]["synced_ns"]["median"], 500e6);
    assert_eq!(rows[3]["written_bytes"], 512 << 20);
    assert_eq!(rows[3]["direct"], true);
    assert!(rows[3]["pause_ns"].is_null());
}

#[test]
fn without_gcore_the_snapshot_is_measured_alone() {
    let mut case = case();
    case.samples.remove(&Tool::Gcore);
    let mut ratios = BTreeMap::new();
    case.add_ratios(Bytes::mib(64), &mut ratios);
    assert!(!ratios.contains_key("pause_512m_4k"));
    assert!(ratios.contains_key("throughput_512m_4k"));
    assert_eq!(rows(&case).len(), 3);
}

#[test]
fn the_plot_has_a_panel_for_each_kind_of_page_and_a_line_for_each_tool() {
    let chart = chart(&[case(), Case { pages: PageKind::Thp, ..case() }]);
    assert_eq!(chart.panels.len(), 2);
    assert_eq!(chart.panels[1].series[0].points, [(512.0, 1500.0)]);
}
