//! What `check` calls wrong is told by `pull`, and mended where it may replace.

use std::path::Path;

use models::{Catalogue, OnMisfit, Places};

use crate::hub::{Files, Hub};

const CATALOGUE: &str = "[[component]]\nname='m'\ntitle='t'\nhub='o/n'\nfolder='m'\n\
    [[component.file]]\npath='a.json'\n[[component.file]]\npath='b.txt'\n";
const A: &[u8] = b"{\"width\": 16}";
const B: &[u8] = b"words";

fn files() -> Files {
    Files { all: [("a.json", A.to_vec()), ("b.txt", B.to_vec())].into(), size: None }
}

fn places(folder: &Path) -> Places {
    Places { root: folder.to_owned(), ..Places::default() }
}

#[test]
fn what_is_wrong_with_a_file_that_is_there_is_told_and_mended_on_request() {
    let catalogue = Catalogue::parse(CATALOGUE).unwrap();
    let hub = Hub::start(files());
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n";
    // whether it was pulled before, what lies there then, and what is told of it without reading all of it
    type Row = (bool, &'static str, &'static [u8], Option<&'static str>);
    let rows: [Row; 6] = [
        (false, "a.json", pointer, Some("LFS pointer")),
        (false, "a.json", b"<html>", Some("no JSON")),
        (true, "a.json", b"{\"width\"", Some("8 bytes, should be 13")),
        (true, "b.txt", b"word", Some("4 bytes, should be 5")),
        (true, "a.json", b"{\"width\": 17}", None),
        (true, "b.txt", b"sword", None),
    ];
    for (pulled, name, bytes, told) in rows {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let path = folder.path().join("m").join(name);
        let pull = |existing| hub.pull((&catalogue, &["m"]), &places, existing);
        if pulled {
            pull(OnMisfit::Refuse).unwrap();
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        match (pull(OnMisfit::Refuse), told) {
            (Ok(_), None) => {}
            (Err(complaint), Some(told)) => {
                assert_eq!(complaint.code, "wrong_file", "{complaint}");
                assert!(
                    complaint.message.contains(told) && complaint.hint.contains("--replace"),
                    "{complaint}"
                );
            }
            (outcome, told) => panic!("{name} {told:?}: {outcome:?}"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing is replaced unasked");
        let events = pull(OnMisfit::Replace).unwrap();
        assert!(events.contains(&format!("done m/{name}")), "{events:?}");
        assert_eq!(std::fs::read(&path).unwrap(), files().all[name]);
        let before = hub.asked().len();
        let events = pull(OnMisfit::Replace).unwrap();
        assert_eq!(events, ["present m/a.json", "present m/b.txt", "plan 0 0"]);
        assert_eq!(hub.asked().len(), before, "what is right is not asked for again");
    }
}

#[test]
fn a_wrong_file_elsewhere_is_left_alone_and_fetched_beside_it() {
    let catalogue = Catalogue::parse(CATALOGUE).unwrap();
    let hub = Hub::start(files());
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    let places = Places { folders: vec![theirs.clone()], ..places(&folder.path().join("ours")) };
    std::fs::create_dir_all(theirs.join("m")).unwrap();
    std::fs::write(theirs.join("m/a.json"), "<html>").unwrap();
    std::fs::write(theirs.join("m/b.txt"), "other words").unwrap();
    let events = hub.pull((&catalogue, &["m"]), &places, OnMisfit::Refuse).unwrap();
    assert_eq!(events, ["present m/b.txt", "plan 1 13", "begun m/a.json", "done m/a.json"]);
    assert_eq!(std::fs::read(theirs.join("m/a.json")).unwrap(), b"<html>");
    assert_eq!(std::fs::read(folder.path().join("ours/m/a.json")).unwrap(), A);
}
