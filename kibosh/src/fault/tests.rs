use super::*;

fn set_of(engine: &Engine, json: &str) -> FaultSet {
    let document = Document::parse(json.as_bytes(), 1000).unwrap();
    FaultSet::default().changed(document, engine).unwrap()
}

fn call(operation: Operation, faults: &[Arc<Fault>]) -> Call<'_> {
    Call { operation, caller: Caller::default(), node: 5, span: Some((0, 4096)), growth: 4096, faults }
}

fn fails(operation: Operation, faults: &[Arc<Fault>]) -> Option<i32> {
    match decide(&call(operation, faults))?.action {
        Action::Fail(errno) => Some(errno),
        _ => None,
    }
}

fn problems(json: &str) -> Vec<String> {
    Document::parse(json.as_bytes(), 0).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn upstreams_six_types_are_read_as_upstream_wrote_them() {
    let json = r#"{"faults":[
        {"type":"unreadable","prefix":"","suffix":"","code":5},
        {"type":"unwritable","prefix":"/a","suffix":".log","code":-28},
        {"type":"read_delay","delay_ms":1000,"fraction":1.0},
        {"type":"write_delay","delay_ms":1000,"fraction":0.5},
        {"type":"read_corrupt","mode":1000,"fraction":0.5,"count":-1},
        {"type":"write_corrupt","mode":1200,"fraction":0.5,"count":3}]}"#;
    let set = set_of(&Engine::new(1), json);
    let given: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(set.to_json(), given);
    assert_eq!(set.faults[1].spec.effect, Effect::Error { code: 28 });
}

#[test]
fn an_empty_set_reads_as_upstreams() {
    assert_eq!(FaultSet::default().to_json().to_string(), r#"{"faults":[]}"#);
}

#[test]
fn every_problem_is_listed_with_its_path() {
    let found = problems(
        r#"{"faults":[{"type":"unreadable"},{"type":"nope"},{"type":"error","operations":["fly"],"code":"EWHAT","x":1}],"y":2}"#,
    );
    let paths: Vec<_> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        paths,
        ["faults[0].code", "faults[1].type", "faults[2].code", "faults[2].operations", "faults[2].x", "y"]
    );
}

#[test]
fn what_is_no_json_is_refused() {
    for json in ["", "{", "[]", "3", r#"{"faults":3}"#, r#"{"fault":[]}"#, "\u{0}"] {
        assert!(Document::parse(json.as_bytes(), 0).is_err(), "{json}");
    }
}

#[test]
fn the_first_match_wins_and_a_missed_fraction_goes_on() {
    let engine = Engine::new(1);
    let set = set_of(
        &engine,
        r#"{"faults":[{"type":"unreadable","code":1,"fraction":0.0},{"type":"unreadable","code":2},
            {"type":"unreadable","code":3}]}"#,
    );
    assert_eq!(fails(Operation::Read, &set.faults), Some(2));
    assert_eq!(fails(Operation::Write, &set.faults), None);
}

#[test]
fn nth_fires_once_and_count_limits() {
    let engine = Engine::new(1);
    let nth = set_of(&engine, r#"{"faults":[{"type":"error","operations":"fsync","code":"EIO","nth":3}]}"#);
    let fired: Vec<_> = (0..5).map(|_| fails(Operation::Fsync, &nth.faults).is_some()).collect();
    assert_eq!(fired, [false, false, true, false, false]);
    let count = set_of(&engine, r#"{"faults":[{"type":"unwritable","code":5,"count":2}]}"#);
    let fired: Vec<_> = (0..3).map(|_| fails(Operation::Write, &count.faults).is_some()).collect();
    assert_eq!(fired, [true, true, false]);
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let json = r#"{"faults":[{"type":"unreadable","code":5,"fraction":0.5}]}"#;
    let choices = |seed| {
        let set = set_of(&Engine::new(seed), json);
        (0..64).map(|_| fails(Operation::Read, &set.faults).is_some()).collect::<Vec<_>>()
    };
    assert_eq!(choices(1), choices(1));
    assert_ne!(choices(1), choices(2));
}

#[test]
fn a_full_disk_takes_what_fits() {
    let engine = Engine::new(1);
    let set = set_of(&engine, r#"{"faults":[{"type":"disk_full","bytes":8192}]}"#);
    let results: Vec<_> = (0..3).map(|_| fails(Operation::Write, &set.faults)).collect();
    assert_eq!(results, [None, None, Some(libc::ENOSPC)]);
    assert_eq!(fails(Operation::Mkdir, &set.faults), Some(libc::ENOSPC));
    assert_eq!(set.faults[0].room(), Some(0));
}

#[test]
fn fsync_fails_once_for_each_file() {
    let set = set_of(&Engine::new(1), r#"{"faults":[{"type":"fsync_once"}]}"#);
    assert_eq!(fails(Operation::Fsync, &set.faults), Some(libc::EIO));
    assert_eq!(fails(Operation::Fsync, &set.faults), None);
}

#[test]
fn owners_do_not_touch_each_other() {
    let engine = Engine::new(1);
    let first = set_of(&engine, r#"{"faults":[{"type":"unreadable","code":5}]}"#);
    let add = r#"{"owner":"t1","faults":[{"type":"unwritable","code":5,"id":"a"}]}"#;
    let both = first.changed(Document::parse(add.as_bytes(), 0).unwrap(), &engine).unwrap();
    assert_eq!(both.faults.len(), 2);
    assert!(Arc::ptr_eq(&first.faults[0], &both.faults[0]));
    assert_eq!(both.to_json()["faults"][1]["owner"], "t1");
    let remove = br#"{"owner":"t1","faults":[]}"#;
    let left = both.changed(Document::parse(remove, 0).unwrap(), &engine).unwrap();
    assert_eq!(left.to_json(), first.to_json());
    assert_eq!(left.generation, 3);
}

#[test]
fn a_stale_generation_changes_nothing() {
    let engine = Engine::new(1);
    let set = set_of(&engine, r#"{"faults":[]}"#);
    let document = Document::parse(br#"{"generation":0,"faults":[]}"#, 0).unwrap();
    assert_eq!(set.changed(document, &engine).err(), Some(Refused::Stale { in_force: 1 }));
}

#[test]
fn a_duration_reads_back_as_an_end_and_can_be_written_again() {
    let engine = Engine::new(1);
    let set = set_of(&engine, r#"{"faults":[{"type":"unreadable","code":5,"durationMs":500}]}"#);
    let json = set.to_json().to_string();
    assert_eq!(json, r#"{"faults":[{"type":"unreadable","code":5,"untilBoottimeMs":1500}]}"#);
    let again = set.changed(Document::parse(json.as_bytes(), 1400).unwrap(), &engine).unwrap();
    assert!(Arc::ptr_eq(&set.faults[0], &again.faults[0]));
    assert_eq!(set.unexpired(1499).faults.len(), 1);
    assert_eq!(set.unexpired(1500).faults.len(), 0);
}

#[test]
fn paths_are_selected_by_prefix_suffix_and_glob() {
    let engine = Engine::new(1);
    let set = set_of(
        &engine,
        r#"{"faults":[{"type":"unreadable","code":5,"prefix":"/a","suffix":".log","glob":"/**/x*.log"}]}"#,
    );
    let selects = |path: &str| set.faults[0].spec.select.selects_path(path.as_bytes());
    assert!(selects("/a/b/x1.log") && selects("/a/x.log"));
    assert!(!selects("/b/x.log") && !selects("/a/x.txt") && !selects("/a/y.log"));
}

#[test]
fn a_line_of_limited_bandwidth_queues() {
    let set = set_of(&Engine::new(1), r#"{"faults":[{"type":"bandwidth","bytesPerSec":4096}]}"#);
    for seconds in 1..4u64 {
        match decide(&call(Operation::Read, &set.faults)).map(|fired| fired.action) {
            Some(Action::Delay(delay)) => {
                assert!(delay <= Duration::from_secs(seconds) && delay > Duration::from_secs(seconds - 1))
            }
            other => panic!("{other:?}"),
        }
    }
}
