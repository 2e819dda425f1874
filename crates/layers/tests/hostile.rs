//! Damaged and hostile weight files: every one ends in an error that says what is wrong, never in a panic, and nothing in a pickle is ever run.

use std::path::{Path, PathBuf};

use layers::weights::Checkpoint;
use tempfile::TempDir;

fn loaders() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/loaders")
}

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Opens the bytes as a file and reads every tensor in it; the total length of what was read.
    fn open(&self, bytes: &[u8]) -> Result<usize, String> {
        let path = self.folder.path().join("file.pth");
        std::fs::write(&path, bytes).unwrap();
        let checkpoint = Checkpoint::open(&path).map_err(|e| e.to_string())?;
        let mut total = 0;
        for key in checkpoint.entries().keys() {
            let read = checkpoint.read(key).map_err(|e| e.to_string())?;
            assert!(
                read.len() <= bytes.len(),
                "`{key}` grew to {} bytes in a file of {}",
                read.len(),
                bytes.len()
            );
            total += read.len();
        }
        Ok(total)
    }

    fn refused(&self, bytes: &[u8]) -> String {
        match self.open(bytes) {
            Ok(total) => panic!("it was read, {total} bytes"),
            Err(why) => why,
        }
    }
}

/// A legacy file with `object` as its pickle, and these storages (name, number of elements, bytes).
fn legacy(object: &[u8], storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(b"\x80\x02}U\x0dlittle_endian\x88s.");
    file.extend(b"\x80\x02");
    file.extend(object);
    file.extend(b".\x80\x02](");
    for (name, ..) in storages {
        file.extend([b"U", &[name.len() as u8][..], name.as_bytes()].concat());
    }
    file.extend(b"e.");
    for (_, elements, bytes) in storages {
        file.extend(elements.to_le_bytes());
        file.extend(*bytes);
    }
    file
}

/// `{"w": <value>}`
fn dict_of(value: &[u8]) -> Vec<u8> {
    [b"}U\x01w", value, b"s"].concat()
}

/// `_rebuild_tensor_v2` of float storage `s`, with these pickled numbers.
fn tensor(elements: &[u8], offset: &[u8], size: &[u8], stride: &[u8]) -> Vec<u8> {
    let storage = [b"((U\x07storagectorch\nFloatStorage\nU\x01sU\x03cpu", elements, b"tQ"].concat();
    let args = [&storage[..], offset, size, stride, b"\x89NtR"].concat();
    [b"ctorch._utils\n_rebuild_tensor_v2\n", &args[..]].concat()
}

const FOUR: &[(&str, u64, &[u8])] = &[("s", 4, &[0; 16])];

#[test]
fn the_hand_made_files_are_right_but_for_their_fault() {
    let bench = Bench::new();
    assert_eq!(
        bench
            .open(&legacy(&dict_of(&tensor(b"K\x04", b"K\x00", b"K\x02K\x02\x86", b"K\x02K\x01\x86")), FOUR)),
        Ok(16)
    );
    assert_eq!(bench.open(&archive(&[("a/data.pkl", &zip_dict()), ("a/data/s", &[0; 16])])), Ok(16));
}

#[test]
fn a_command_is_neither_run_nor_taken_for_a_tensor() {
    let bench = Bench::new();
    let mark = bench.folder.path().join("it_ran");
    let command = format!("touch {}", mark.display());
    let call = |by: &str| format!("c{by}\n(S'{command}'\ntR").into_bytes();
    for by in ["os\nsystem", "posix\nsystem", "builtins\neval", "subprocess\nPopen"] {
        let why = bench.refused(&legacy(&dict_of(&call(by)), &[]));
        assert!(why.contains("holds no dict of tensors"), "{why}");
        // beside a real tensor, so that it lies within the state dict
        let both = [
            &dict_of(&tensor(b"K\x04", b"K\x00", b"K\x04\x85", b"K\x01\x85"))[..],
            b"U\x01x",
            &call(by),
            b"s",
        ]
        .concat();
        let why = bench.refused(&legacy(&both, FOUR));
        assert!(why.contains("tensor `x`") && why.contains(&by.replace('\n', ".")), "{why}");
        let why = bench.refused(&legacy(&call(by), &[]));
        assert!(why.contains("not a dict of tensors"), "{why}");
    }
    assert!(!mark.exists());
}

#[test]
fn what_is_not_understood_names_the_key() {
    let bench = Bench::new();
    let good = tensor(b"K\x04", b"K\x00", b"K\x04\x85", b"K\x01\x85");
    for (value, said) in [
        (&b"K\x05"[..], "the number 5 is not a tensor"),
        (b"N", "None is not a tensor"),
        (b"ctorch._utils\n_rebuild_qtensor\n)R", "torch._utils._rebuild_qtensor"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R", "torch._utils._rebuild_tensor_v2"),
        (&tensor(b"K\x05", b"K\x00", b"K\x04\x85", b"K\x01\x85"), "said to have 5 elements"),
        (&tensor(b"K\x04", b"K\x01", b"K\x04\x85", b"K\x01\x85"), "lies behind the end"),
        (&tensor(b"K\x04", b"K\x00", b"K\x02\x85", b"K\x04\x85"), "lies behind the end"),
        (&tensor(b"K\x04", b"J\xff\xff\xff\xff", b"K\x04\x85", b"K\x01\x85"), "offset is not a count"),
        (&tensor(b"K\x04", b"K\x00", b"J\xff\xff\xff\xff\x85", b"K\x01\x85"), "something else than counts"),
        (&tensor(b"K\x04", b"K\x00", b"K\x04\x85", b")"), "1 axes and 0 strides"),
        // 2^31 elements of one value, and a product that overflows
        (
            &tensor(b"K\x04", b"K\x00", b"\x8a\x05\x00\x00\x00\x80\x00\x85", b"K\x00\x85"),
            "more than the whole file",
        ),
        (
            &tensor(
                b"K\x04",
                b"K\x00",
                b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x7f\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x7f\x86",
                b"K\x00K\x00\x86",
            ),
            "more than the whole file",
        ),
        (
            &tensor(
                b"K\x04",
                b"K\x00",
                b"K\x02K\x02\x86",
                b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x01\x86",
            ),
            "behind the end",
        ),
    ] {
        let both = [&dict_of(&good)[..], b"U\x03bad", value, b"s"].concat();
        let why = bench.refused(&legacy(&both, FOUR));
        assert!(why.contains("tensor `bad`") && why.contains(said), "`{why}` does not say `{said}`");
    }
}

#[test]
fn bombs_and_cycles() {
    let bench = Bench::new();
    let deep = 200_000;
    let nested_lists = [vec![b']'; deep], vec![b'a'; deep - 1]].concat();
    let nested_dicts = [b"}U\x01a".repeat(deep), b"}".to_vec(), vec![b's'; deep]].concat();
    let doubling = [&b"]"[..], &b"2\x86".repeat(deep)].concat(); // a tuple of twice what was there, 200,000 times
    for (object, said) in [
        (nested_lists, "a list, not a dict"),
        (nested_dicts, "no dict of tensors"),
        (doubling, "a tuple, not a dict"),
        (vec![b'('; deep], "byte"),
        (b"}q\x00U\x0astate_dicth\x00s".to_vec(), "no dict of tensors"),
        (b"}r\xff\xff\xff\xffU\x01aj\xff\xff\xff\xffs".to_vec(), "no dict of tensors"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec(), "bytes are announced"),
        (b"\x8b\xff\xff\xff\xff".to_vec(), "bytes are announced"),
        (b"X\xff\xff\xff\x7f".to_vec(), "bytes are announced"),
        (b"h\x07".to_vec(), "memo 7 was never set"),
        (b"R".to_vec(), "nothing is left"),
        (b"(0t".to_vec(), "no mark"),
        (b"}K\x01a".to_vec(), "items are to go into a dict"),
        (b"\x82\x01".to_vec(), "extension code"),
        (b"\x80\x09".to_vec(), "protocol 9"),
        (b"\xf0".to_vec(), "opcode 0xf0"),
    ] {
        let why = bench.refused(&legacy(&object, &[]));
        assert!(why.contains(said), "`{why}` does not say `{said}`");
    }
    let many = vec![b']'; (4 << 20) + 1];
    assert!(bench.refused(&legacy(&many, &[])).contains("more than 4194304 values"));
}

#[test]
fn which_dict_is_meant() {
    let bench = Bench::new();
    let good = dict_of(&tensor(b"K\x04", b"K\x00", b"K\x04\x85", b"K\x01\x85"));
    let two = |a: &str, b: &str| {
        let key = |k: &str| [b"U", &[k.len() as u8][..], k.as_bytes()].concat();
        [b"}", &key(a)[..], &good, b"s", &key(b), &good, b"s"].concat()
    };
    assert!(
        bench.refused(&legacy(&two("ema", "model"), FOUR)).contains("several dicts of tensors (ema, model)")
    );
    assert_eq!(bench.open(&legacy(&two("ema", "state_dict"), FOUR)), Ok(16));
    let path = bench.folder.path().join("two.pth");
    std::fs::write(&path, legacy(&two("ema", "model"), FOUR)).unwrap();
    assert_eq!(Checkpoint::open_at(&path, "ema").unwrap().entries().len(), 1);
    let why = Checkpoint::open_at(&path, "params").err().unwrap().to_string();
    assert!(why.contains("no `params`; it has `ema`, `model`"), "{why}");
    let why = Checkpoint::open_at(&path, "ema.w.x").err().unwrap().to_string();
    assert!(why.contains("an object of torch._utils._rebuild_tensor_v2, not a dict"), "{why}");
}

/// Of the tensor that the zips hold.
fn zip_dict() -> Vec<u8> {
    [&b"\x80\x02"[..], &dict_of(&tensor(b"K\x04", b"K\x00", b"K\x04\x85", b"K\x01\x85")), b"."].concat()
}

/// A zip of stored members, as PyTorch writes it.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let sizes = [(bytes.len() as u32).to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat();
        let lens = [(name.len() as u16).to_le_bytes(), [0, 0]].concat();
        directory.extend(b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
        directory.extend([&sizes[..], &lens, &[0; 10]].concat());
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
        file.extend([&sizes[..], &lens, name.as_bytes(), bytes].concat());
    }
    let begin = file.len() as u32;
    file.extend(&directory);
    let count = (members.len() as u16).to_le_bytes();
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend(
        [&count[..], &count, &(directory.len() as u32).to_le_bytes(), &begin.to_le_bytes(), &[0, 0]].concat(),
    );
    file
}

#[test]
fn tricks_with_zips() {
    let bench = Bench::new();
    let dict = zip_dict();
    let good = archive(&[("a/data.pkl", &dict), ("a/data/s", &[0; 16])]);
    let end = good.len() - 22;
    let central = u32::from_le_bytes(good[end + 16..end + 20].try_into().unwrap()) as usize;
    let edit = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    for (file, said) in [
        (archive(&[("a/data.pkl", &dict), ("b/data.pkl", &dict)]), "two pickles"),
        (
            archive(&[("a/data.pkl", &dict), ("a/data/s", &[0; 16]), ("a/data/s", &[1; 16])]),
            "two members named `a/data/s`",
        ),
        (archive(&[("a/data.pkl", &dict), ("a/byteorder", b"big"), ("a/data/s", &[0; 16])]), "big-endian"),
        (
            archive(&[("a/data.pkl", &dict), ("a/data/s", &[0; 12])]),
            "said to have 4 elements, but has 12 bytes",
        ),
        (archive(&[("a/data.pkl", &dict), ("a/data/t", &[0; 16])]), "storage `s` is not in the file"),
        (archive(&[("a/other", &dict)]), "without `data.pkl`"),
        (edit(central + 10, &[8, 0]), "is compressed"),
        (edit(central + 8, &[1, 0]), "is encrypted"),
        (edit(central + 24, &[0xF0, 0xFF, 0, 0]), "bytes are to become"),
        (edit(central + 20, &[0xF0, 0xFF, 0xFF, 0x0F, 0xF0, 0xFF, 0xFF, 0x0F]), "points behind its end"),
        (edit(central + 42, &[7]), "not where the directory says"),
        (edit(30, b"b"), "another name where it lies"),
        (edit(end + 10, &[0xFF, 0xFF]), "claims 65535 members"),
        (edit(end + 16, &[0xFF, 0xFF, 0xFF, 0x7F]), "points behind its end"),
        (edit(end + 16, &[0]), "directory is damaged"),
    ] {
        let why = bench.refused(&file);
        assert!(why.contains(said), "`{why}` does not say `{said}`");
    }
}

#[test]
fn indices_that_lie() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(loaders().join("sharded")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let index = folder.path().join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    assert_eq!(Checkpoint::open(&index).unwrap().entries().len(), 4);
    for (from, to, said) in [
        ("\"head.w\": \"model-00003", "\"head.x\": \"model-00003", "which the index does not name"),
        ("\"head.w\": \"model-00003", "\"head.w\": \"model-00002", "`head.w` is not in model-00002"),
        ("\"blk.0.w\": \"model-00001", "\"blk.0.w\": \"model-00002", "the index says model-00002"),
        ("model-00003-of-00003", "../../etc/passwd", "not a plain file name"),
        ("model-00003-of-00003", "absent", "cannot read"),
        ("weight_map", "weights", "no `weight_map`"),
        ("{", "[", "damaged or not understood"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&index, text.replacen(from, to, 1)).unwrap();
        let why = Checkpoint::open(&index).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(why.contains(said), "`{why}` does not say `{said}`");
    }
}

#[test]
fn a_missing_key_and_a_wrong_shape_are_named() {
    let open = || Checkpoint::open(&loaders().join("zip_plain.pth")).unwrap();
    let vb = open().into_builder(candle_core::DType::F32, &candle_core::Device::Cpu);
    let why = vb.get((4, 3), "a.weight").unwrap_err().to_string();
    assert!(why.contains("tensor `a.weight`: it is [3, 4], the net needs [4, 3]"), "{why}");
    let why = vb.get((4, 3), "a.bias").unwrap_err().to_string();
    assert!(why.contains("has no tensor `a.bias`; it has `a.weight`"), "{why}");
    assert!(vb.contains_tensor("a.weight") && !vb.contains_tensor("a.bias"));
}

/// Files of every kind that is read, damaged by chance: an error or tensors no longer than the file, never a panic.
#[test]
fn mutated_files_are_refused_or_read() {
    let bench = Bench::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(loaders())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let files: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(files.len() > 8, "the loaders' files");
    let (mut read, mut refused) = (0, 0);
    for (round, mut dice) in damage::rounds(600).enumerate() {
        let damaged = damage::bytes(&files[round % files.len()], &mut dice);
        match bench.open(&damaged) {
            Ok(_) => read += 1,
            Err(why) => {
                assert!(!why.is_empty());
                refused += 1;
            }
        }
    }
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
}

/// A folder whose index names shards.
#[test]
fn mutated_indices_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = None;
    for entry in std::fs::read_dir(loaders().join("sharded")).unwrap() {
        let path = entry.unwrap().path();
        let copied = folder.path().join(path.file_name().unwrap());
        std::fs::copy(&path, &copied).unwrap();
        if path.extension().is_some_and(|e| e == "json") {
            index = Some(copied);
        }
    }
    let index = index.expect("an index");
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let (mut read, mut refused) = (0, 0);
    for mut dice in damage::rounds(300) {
        let text = damage::json(&whole, &mut dice).to_string();
        let text =
            if dice.below(2) == 0 { text.into_bytes() } else { damage::bytes(text.as_bytes(), &mut dice) };
        std::fs::write(&index, text).unwrap();
        match Checkpoint::open(&index) {
            Ok(checkpoint) => {
                for key in checkpoint.entries().keys() {
                    let _ = checkpoint.read(key);
                }
                read += 1;
            }
            Err(why) => {
                assert!(!why.to_string().is_empty());
                refused += 1;
            }
        }
    }
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
}
