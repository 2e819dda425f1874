//! The environment of the four originals, so that a compose file or a `.env` written for them keeps its meaning. Read from
//! the process, then from `.env` in the data folder, then from `.env` in the working folder; what is not in the lists
//! below is not looked at. The folders they name lie below the data folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use contract::Complaint;

use super::settings::Dialect;

/// Variables that name weights: with one of them set, its dialect wants that model and no stand-in.
const WEIGHTS: [(Dialect, &[&str]); 4] = [
    (Dialect::InfiniteTalk, &["CKPT_DIR", "WAV2VEC_DIR", "INFINITETALK_DIR", "QUANT_DIR", "LORA_DIR"]),
    (Dialect::MuseTalk, &["MUSETALK_UNET_MODEL_PATH", "MUSETALK_UNET_CONFIG", "MUSETALK_WHISPER_DIR"]),
    (Dialect::MuseTalkS3, &["MUSETALK_UNET_MODEL_PATH", "MUSETALK_UNET_CONFIG", "MUSETALK_WHISPER_DIR"]),
    (Dialect::Svd, &["SVD_DIR"]),
];

const OTHERS: [&str; 27] = [
    "PORT",
    "OUTPUT_DIR",
    "MOTION_FRAME",
    "LORA_SCALE",
    "FRAME_NUM",
    "MODE",
    "NUM_PERSISTENT_PARAM_IN_DIT",
    "USE_TEACACHE",
    "TEACACHE_THRESH",
    "USE_APG",
    "APG_MOMENTUM",
    "APG_NORM_THRESHOLD",
    "HF_TOKEN",
    "HUGGING_FACE_TOKEN",
    "MUSETALK_PORT",
    "MUSETALK_VERSION",
    "MUSETALK_FPS",
    "MUSETALK_BATCH_SIZE",
    "MUSETALK_BBOX_SHIFT",
    "MUSETALK_RESULT_DIR",
    "MUSETALK_GPU_ID",
    "MUSETALK_EXTRA_MARGIN",
    "MUSETALK_AUDIO_PADDING_LENGTH_LEFT",
    "MUSETALK_AUDIO_PADDING_LENGTH_RIGHT",
    "MUSETALK_PARSING_MODE",
    "MUSETALK_LEFT_CHEEK_WIDTH",
    "MUSETALK_RIGHT_CHEEK_WIDTH",
];

/// The variables that are set, by their upper-case names, each with where it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Originals {
    set: BTreeMap<String, Variable>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    value: String,
    from: String,
}

impl Originals {
    /// `data` is the data folder, `here` the working folder.
    pub fn read(data: &Path, here: &Path) -> Result<Self, Complaint> {
        let mut set = BTreeMap::new();
        let mut add = |name: &str, value: String, from: &str| {
            let name = name.to_ascii_uppercase();
            if is_known(&name) && !value.is_empty() {
                set.entry(name).or_insert(Variable { value, from: from.to_owned() });
            }
        };
        for (name, value) in crate::config::environment() {
            if is_known(&name) || is_of_musetalk(&name) {
                add(&name, value, "environment");
            }
        }
        let mut files = vec![data.join(".env"), here.join(".env")];
        files.dedup();
        for file in files {
            let shown = file.display().to_string();
            let text = match std::fs::read(&file) {
                Ok(text) => String::from_utf8_lossy(&text).into_owned(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(&shown, &dotenvy::Error::Io(error))),
            };
            for line in dotenvy::from_read_iter(ours(&text).as_bytes()) {
                let (name, value) = line.map_err(|error| unreadable(&shown, &error))?;
                add(&name, value, &shown);
            }
        }
        Ok(Self { set })
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.set.get(name).map(|variable| variable.value.as_str())
    }

    /// A value that must be of one kind.
    pub fn parsed<T: FromStr>(&self, name: &str, kind: &str) -> Result<Option<T>, Complaint> {
        let Some(variable) = self.set.get(name) else { return Ok(None) };
        variable.value.trim().parse().map(Some).map_err(|_| {
            Complaint::new(
                "bad_config",
                format!("{name} ({}) is `{}`, it must be {kind}", variable.from, variable.value),
                "correct or unset it",
            )
        })
    }

    /// A folder below the data folder, whatever the value begins with: `/output` and `./output` are both `DATA/output`.
    pub fn folder(&self, name: &str, data: &Path) -> Option<PathBuf> {
        let plain = |part: std::path::Component<'_>| match part {
            std::path::Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        };
        self.text(name)
            .map(|value| data.join(Path::new(value).components().filter_map(plain).collect::<PathBuf>()))
    }

    /// The first variable that names weights for `dialect`.
    pub fn weights(&self, dialect: Dialect) -> Option<(&'static str, &str)> {
        let (_, names) = WEIGHTS.iter().find(|(of, _)| *of == dialect)?;
        names.iter().find_map(|name| self.text(name).map(|value| (*name, value)))
    }

    /// `PORT` counts when one dialect is served; `MUSETALK_PORT` always.
    pub fn port(&self, dialect: Dialect, alone: bool) -> Result<Option<u16>, Complaint> {
        let own = match dialect {
            Dialect::MuseTalk => self.parsed("MUSETALK_PORT", "a port, 0 to 65535")?,
            Dialect::InfiniteTalk | Dialect::MuseTalkS3 | Dialect::Svd | Dialect::Fal | Dialect::All => None,
        };
        match (own, alone && dialect != Dialect::All) {
            (Some(port), _) => Ok(Some(port)),
            (None, true) => self.parsed("PORT", "a port, 0 to 65535"),
            (None, false) => Ok(None),
        }
    }
}

fn is_known(name: &str) -> bool {
    OTHERS.contains(&name) || WEIGHTS.iter().any(|(_, names)| names.contains(&name))
}

/// Only the MuseTalk server reads its variables in any case.
fn is_of_musetalk(name: &str) -> bool {
    name.to_ascii_uppercase().starts_with("MUSETALK_")
}

/// Without the lines of other programs that cannot be read: the working folder may be anybody's. Those that can stay, as ours may refer to them.
fn ours(text: &str) -> String {
    let is_read = |line: &str| dotenvy::from_read_iter(line.as_bytes()).all(|line| line.is_ok());
    text.lines()
        .filter(|line| is_of_an_original(line) || is_read(line))
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn is_of_an_original(line: &str) -> bool {
    let name = line.split('=').next().unwrap_or_default().trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    is_known(&name.to_ascii_uppercase()) || is_of_musetalk(name)
}

fn unreadable(file: &str, error: &dotenvy::Error) -> Complaint {
    // the line itself is not shown: it may hold a secret
    let why = match error {
        dotenvy::Error::LineParse(_, at) => format!("a line cannot be read at character {at}"),
        _ => error.to_string(),
    };
    Complaint::new("bad_config", format!("{file}: {why}"), "write NAME=value, with quotes around blanks")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(lines: &str) -> (tempfile::TempDir, Result<Originals, Complaint>) {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(".env"), lines).unwrap();
        let read = Originals::read(data.path(), data.path());
        (data, read)
    }

    #[test]
    fn a_dotenv_of_the_originals_keeps_its_meaning() {
        let (data, read) = with(
            "# musetalk\nmusetalk_result_dir=./results\nMUSETALK_FPS=30\nCKPT_DIR=/m\nSECRET=x\nMUSETALK_PORT=\n",
        );
        let read = read.unwrap();
        assert_eq!(read.folder("MUSETALK_RESULT_DIR", data.path()), Some(data.path().join("results")));
        assert_eq!(read.parsed("MUSETALK_FPS", "a number").unwrap(), Some(30));
        assert_eq!(read.weights(Dialect::InfiniteTalk), Some(("CKPT_DIR", "/m")));
        assert_eq!(read.weights(Dialect::MuseTalk), None);
        assert_eq!(read.text("SECRET"), None);
        assert_eq!(read.port(Dialect::MuseTalk, false).unwrap(), None, "an empty value is none");
    }

    #[test]
    fn folders_stay_below_the_data_folder() {
        for (value, expected) in
            [("/output", "output"), ("../../etc/x", "etc/x"), ("a/./b", "a/b"), ("/", "")]
        {
            let (data, read) = with(&format!("OUTPUT_DIR={value}\n"));
            assert_eq!(
                read.unwrap().folder("OUTPUT_DIR", data.path()),
                Some(data.path().join(expected)),
                "{value}"
            );
        }
    }

    #[test]
    fn port_counts_for_one_dialect_alone() {
        let read = with("PORT=9000\nMUSETALK_PORT=9001\n").1.unwrap();
        let rows = [
            (Dialect::Svd, true, Some(9000)),
            (Dialect::Svd, false, None),
            (Dialect::MuseTalk, false, Some(9001)),
            (Dialect::MuseTalk, true, Some(9001)),
            (Dialect::All, true, None),
        ];
        for (dialect, alone, expected) in rows {
            assert_eq!(read.port(dialect, alone).unwrap(), expected, "{dialect:?} {alone}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place_and_a_wrong_line_is_not_shown() {
        let wrong = with("PORT=eighty\n").1.unwrap().port(Dialect::Svd, true).unwrap_err();
        assert!(wrong.message.contains("eighty") && wrong.message.contains(".env"), "{wrong}");
        for line in
            ["HF_TOKEN='hf_secret\n", "export CKPT_DIR=/my hf_secret\n", "musetalk_fps=30 hf_secret\n"]
        {
            let complaint = with(line).1.unwrap_err();
            assert_eq!(complaint.code, "bad_config", "{line}");
            assert!(!complaint.to_string().contains("hf_secret"), "{complaint}");
        }
    }

    #[test]
    fn lines_of_other_programs_need_not_be_read() {
        let read =
            with("APP_NAME=My App\nnot a line\nKEY='two\nlines'\nROOT=/m\nCKPT_DIR=${ROOT}/x\n").1.unwrap();
        assert_eq!(read.text("CKPT_DIR"), Some("/m/x"));
    }
}
