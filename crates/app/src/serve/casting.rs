//! Which engine plays for which dialect. One that was named plays, whatever else is there. Weights that are configured
//! are used or the dialect says why not. Only while no weights are configured anywhere does puppet stand in, and says so.

use contract::Complaint;

use super::originals::Originals;
use super::settings::{Dialect, ServeSettings};
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
    settings: &ServeSettings,
    originals: &Originals,
    engines: &Engines,
) -> Result<Casting, Complaint> {
    if let Some(name) = settings.engines.get(dialect.name()).or(settings.engine.as_ref()) {
        return engines.find(name).map(|engine| Casting::Chosen(engine.card().name.to_owned()));
    }
    let own = own_engine(dialect);
    if let Some(Ok(engine)) = own.map(|name| engines.find(name)) {
        return Ok(Casting::Chosen(engine.card().name.to_owned()));
    }
    if let Some((variable, path)) = originals.weights(dialect) {
        let absent = own.and_then(|own| engines.absent.iter().find(|(name, _)| *name == own));
        let why = absent.map_or_else(|| unloadable(dialect, variable, path), |(_, why)| why.clone());
        return Ok(Casting::Nobody(why));
    }
    let fetched =
        engines.ready.iter().any(|engine| engine.card().weights.iter().any(|weights| !weights.embedded));
    if originals.any_weights() || fetched {
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

/// Whose part the dialect is.
fn own_engine(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::MuseTalk | Dialect::MuseTalkS3 => Some("musetalk"),
        Dialect::InfiniteTalk => Some("infinitetalk"),
        Dialect::Svd => Some("svd"),
        Dialect::Fal | Dialect::All => None,
    }
}

fn unloadable(dialect: Dialect, variable: &str, path: &str) -> Complaint {
    let there = std::path::Path::new(path).exists();
    let why = if there {
        "this version of talkie has no engine that loads it"
    } else {
        "there is nothing at that path"
    };
    Complaint::new(
        "weights_unloadable",
        format!("{variable} names {path} for {}, but {why}", dialect.name()),
        format!("unset {variable}, or choose the built-in engine: --engine {STAND_IN}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn originals(lines: &str) -> Originals {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(".env"), lines).unwrap();
        Originals::read(data.path(), data.path()).unwrap()
    }

    #[test]
    fn a_stand_in_plays_only_while_no_weights_are_configured_anywhere() {
        let engines = crate::machine::built_in();
        let check = |settings: &ServeSettings, lines: &str, dialect| {
            cast(dialect, settings, &originals(lines), &engines)
        };
        let plain = ServeSettings::default();
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
        let named = ServeSettings { engine: Some("puppet".into()), ..ServeSettings::default() };
        assert_eq!(
            check(&named, "CKPT_DIR=/m", Dialect::InfiniteTalk).unwrap(),
            Casting::Chosen("puppet".into())
        );
        let unknown = ServeSettings { engine: Some("pupet".into()), ..ServeSettings::default() };
        assert_eq!(check(&unknown, "", Dialect::Svd).unwrap_err().code, "unknown_engine");
    }
}
