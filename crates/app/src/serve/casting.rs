//! Which engine plays for which dialect. One that was named plays, whatever else is there. Weights that are configured
//! are used or the dialect says why not. Only while no weights are configured anywhere does puppet stand in, and says so.

use contract::{Complaint, EngineCard};

use super::originals::Originals;
use super::settings::{Dialect, ServeSettings};

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
    engines: &[EngineCard],
) -> Result<Casting, Complaint> {
    if let Some(name) = settings.engines.get(dialect.name()).or(settings.engine.as_ref()) {
        if engines.iter().any(|card| card.name == name) {
            return Ok(Casting::Chosen(name.clone()));
        }
        let names: Vec<_> = engines.iter().map(|card| card.name).collect();
        return Err(Complaint::new(
            "unknown_engine",
            format!("there is no engine `{name}`"),
            format!("this program has: {}", names.join(", ")),
        ));
    }
    if let Some((variable, path)) = originals.weights(dialect) {
        return Ok(Casting::Nobody(unloadable(dialect, variable, path)));
    }
    if originals.any_weights() {
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
        let cards: Vec<_> = crate::machine::engines().iter().map(|engine| engine.card().clone()).collect();
        let check = |settings: &ServeSettings, lines: &str, dialect| {
            cast(dialect, settings, &originals(lines), &cards)
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
