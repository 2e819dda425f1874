//! Sets that overlap, and sizes that no disk has.

use models::{Catalogue, OnMisfit, Places};

use crate::hub::{Files, Hub};

const CATALOGUE: &str = "[[component]]\nname='one'\ntitle='t'\nhub='o/n'\nfolder='m'\n\
    [[component.file]]\npath='q/a.txt'\n[[component.file]]\npath='q/b.txt'\nbytes=5\n\
    [[component]]\nname='every'\ntitle='t'\nhub='o/n'\nfolder='m'\nlisting='q'\n";

#[test]
fn a_file_that_a_component_and_a_listing_name_comes_once() {
    let catalogue = Catalogue::parse(CATALOGUE).unwrap();
    let all = [("q/a.txt", b"a".to_vec()), ("q/b.txt", b"words".to_vec()), ("q/c.txt", b"see".to_vec())];
    let hub = Hub::start(Files { all: all.into(), size: None });
    let folder = tempfile::tempdir().unwrap();
    let places = Places { root: folder.path().to_owned(), ..Places::default() };
    let events = hub.pull((&catalogue, &["one", "every"]), &places, OnMisfit::Refuse).unwrap();
    // the listing knows the checksum of `a`; what the catalogue knows of `b` stays
    let labels = ["every/q/a.txt", "one/q/b.txt", "every/q/c.txt"];
    assert_eq!(events[0], "plan 3 9");
    for label in labels {
        let count = |what: &str| events.iter().filter(|event| **event == format!("{what} {label}")).count();
        assert_eq!((count("begun"), count("done")), (1, 1), "{events:?}");
    }
    assert_eq!(events.len(), 7, "{events:?}");
}

#[test]
fn sizes_that_cannot_be_added_up_fill_no_disk() {
    let text = CATALOGUE.replace("bytes=5\n", "");
    let catalogue = Catalogue::parse(&text).unwrap();
    let all = [("q/a.txt", b"a".to_vec()), ("q/b.txt", b"words".to_vec())];
    for size in [1 << 63, u64::MAX] {
        let hub = Hub::start(Files { all: all.clone().into(), size: Some(size) });
        let folder = tempfile::tempdir().unwrap();
        let places = Places { root: folder.path().to_owned(), ..Places::default() };
        let complaint = hub.pull((&catalogue, &["one"]), &places, OnMisfit::Refuse).unwrap_err();
        assert_eq!(complaint.code, "disk_full", "{complaint}");
        assert!(hub.asked().iter().all(|line| line.starts_with("HEAD")), "{:?}", hub.asked());
    }
}
