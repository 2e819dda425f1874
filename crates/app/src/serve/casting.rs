//! Which engine plays for which dialect. One that was named plays, whatever else is there. Weights that are configured
//! are used or the dialect says why not. Only while no weights are configured anywhere does puppet stand in, and says so.

use std::path::{Path, PathBuf};

use contract::Complaint;

use super::originals::Originals;
use super::settings::Dialect;
use crate::config::Config;
use crate::machine::Engines;

pub const STAND_IN: &str = "puppet";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Casting {
    /// It was named, or its weights are configured.
    Chosen(String),
    /// No weights are configured anywhere: the built-in engine does the work.
    StandIn(String),
    /// What the dialect answers with instead of a take: 503.
    Nobody(Complaint),
}

pub fn cast(
    dialect: Dialect,
    config: &Config,
    originals: &Originals,
    engines: &Engines,
) -> Result<Casting, Complaint> {
    let settings = &config.serve;
    if let Some(name) = settings.engines.get(dialect.name()).or(settings.engine.as_ref()) {
        return engines.find(name).map(|engine| Casting::Chosen(engine.card().name.to_owned()));
    }
    let own = own_engine(dialect);
    if let Some(Ok(engine)) = own.map(|name| engines.find(name)) {
        return Ok(Casting::Chosen(engine.card().name.to_owned()));
    }
    if let Some((by, path)) = weights(dialect, config, originals) {
        let absent = own.and_then(|own| engines.absent.iter().find(|(name, _)| *name == own));
        let why = absent.map_or_else(|| unloadable(dialect, by, path), |(_, why)| why.clone());
        return Ok(Casting::Nobody(why));
    }
    let fetched =
        engines.ready.iter().any(|engine| engine.card().weights.iter().any(|weights| !weights.embedded));
    if Dialect::EACH.into_iter().any(|any| weights(any, config, originals).is_some()) || fetched {
        return Ok(Casting::Nobody(Complaint::new(
            "no_engine",
            format!("no weights are configured for {}, only for other dialects", dialect.name()),
            format!(
                "configure them, or let the built-in engine do it: --conf serve.engines.{}={STAND_IN}",
                dialect.name()
            ),
        )));
    }
    Ok(Casting::StandIn(STAND_IN.to_owned()))
}

/// The first key or variable that names weights for the dialect, and what it names.
fn weights<'a>(
    dialect: Dialect,
    config: &'a Config,
    originals: &'a Originals,
) -> Option<(&'static str, &'a Path)> {
    let talk = &config.infinitetalk;
    let keys: &[(&'static str, Option<&'a PathBuf>)] = match dialect {
        Dialect::InfiniteTalk => &[
            ("infinitetalk.ckpt_dir", talk.ckpt_dir.as_ref()),
            ("infinitetalk.infinitetalk_dir", talk.infinitetalk_dir.as_ref()),
            ("infinitetalk.wav2vec_dir", talk.wav2vec_dir.as_ref()),
            ("infinitetalk.dit_path", talk.dit_path.as_ref()),
            ("infinitetalk.quant_dir", talk.quant_dir.as_ref()),
            ("infinitetalk.loras", talk.loras.first().map(|lora| &lora.path)),
        ],
        Dialect::Svd => &[("svd.dir", config.svd.dir.as_ref())],
        Dialect::MuseTalk | Dialect::MuseTalkS3 | Dialect::Fal | Dialect::All => &[],
    };
    let key = keys.iter().find_map(|(key, path)| Some((*key, path.as_ref()?.as_path())));
    key.or_else(|| originals.weights(dialect).map(|(name, path)| (name, Path::new(path))))
}

/// Whose part the dialect is.
fn own_engine(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::MuseTalk | Dialect::MuseTalkS3 => Some("musetalk"),
        Dialect::InfiniteTalk => Some("infinitetalk"),
        Dialect::Svd => Some("svd"),
        Dialect::Fal | Dialect::All => None,
    }
}

fn unloadable(dialect: Dialect, by: &str, path: &Path) -> Complaint {
    let why = if path.exists() {
        "this version of talkie has no engine that loads it"
    } else {
        "there is nothing at that path"
    };
    Complaint::new(
        "weights_unloadable",
        format!("{by} names {} for {}, but {why}", path.display(), dialect.name()),
        format!("unset {by}, or choose the built-in engine: --engine {STAND_IN}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::settings::LoraSettings;

    fn originals(lines: &str) -> Originals {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(".env"), lines).unwrap();
        Originals::read(data.path(), data.path()).unwrap()
    }

    fn played_by(engine: &str) -> Config {
        let mut config = Config::default();
        config.serve.engine = Some(engine.to_owned());
        config
    }

    #[test]
    fn a_stand_in_plays_only_while_no_weights_are_configured_anywhere() {
        let engines = crate::machine::built_in();
        let check =
            |config: &Config, lines: &str, dialect| cast(dialect, config, &originals(lines), &engines);
        let plain = Config::default();
        assert_eq!(check(&plain, "", Dialect::Svd).unwrap(), Casting::StandIn("puppet".into()));
        assert_eq!(check(&plain, "HF_TOKEN=x", Dialect::Svd).unwrap(), Casting::StandIn("puppet".into()));
        let Casting::Nobody(own) = check(&plain, "CKPT_DIR=/no/such", Dialect::InfiniteTalk).unwrap() else {
            panic!()
        };
        assert!(own.message.contains("CKPT_DIR") && own.message.contains("/no/such"), "{own}");
        let Casting::Nobody(other) = check(&plain, "CKPT_DIR=/no/such", Dialect::Svd).unwrap() else {
            panic!()
        };
        assert_eq!(other.code, "no_engine");
        // a key of the configuration is as good as a variable
        let mut keyed = Config::default();
        keyed.svd.dir = Some("/no/such".into());
        let Casting::Nobody(own) = check(&keyed, "", Dialect::Svd).unwrap() else { panic!() };
        assert!(own.message.contains("svd.dir names /no/such"), "{own}");
        let Casting::Nobody(other) = check(&keyed, "", Dialect::MuseTalk).unwrap() else { panic!() };
        assert_eq!(other.code, "no_engine");
        let mut keyed = Config::default();
        keyed.infinitetalk.quant_dir = Some("/no/such".into());
        assert!(matches!(check(&keyed, "", Dialect::InfiniteTalk).unwrap(), Casting::Nobody(_)));
        let mut keyed = Config::default();
        keyed.infinitetalk.loras = vec![LoraSettings { path: "/no/such".into(), scale: None }];
        assert!(matches!(check(&keyed, "", Dialect::InfiniteTalk).unwrap(), Casting::Nobody(_)));
        let named = played_by("puppet");
        assert_eq!(
            check(&named, "CKPT_DIR=/m", Dialect::InfiniteTalk).unwrap(),
            Casting::Chosen("puppet".into())
        );
        let unknown = played_by("pupet");
        assert_eq!(check(&unknown, "", Dialect::Svd).unwrap_err().code, "unknown_engine");
    }
}
