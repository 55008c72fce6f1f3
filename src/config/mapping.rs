//! Which source database goes into which target database.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::error::{Error, Result};

/// One database and where its keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Its number on the source.
    pub source: u32,
    /// Its number on the target.
    pub target: u32,
}

impl Route {
    /// Parses `N` or `N:M`; without `:M` the target is yet open.
    ///
    /// # Errors
    /// A message for the command line when the text is neither.
    pub fn parse(text: &str) -> Result<(u32, Option<u32>), String> {
        let number = |part: &str| {
            let wrong = "write a database's number, or SOURCE:TARGET, as in 3:0";
            part.parse::<u32>().map_err(|_| wrong.to_owned())
        };
        match text.split_once(':') {
            None => Ok((number(text)?, None)),
            Some((source, target)) => Ok((number(source)?, Some(number(target)?))),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source == self.target {
            write!(out, "{}", self.source)
        } else {
            write!(out, "{}:{}", self.source, self.target)
        }
    }
}

/// What the options say about databases; the source's databases make routes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Every database that holds keys, each to the same number.
    All,
    /// Every database that holds keys, which must be one at most, into this number.
    AllInto(u32),
    /// These, in this order, each source once.
    Routes(Vec<Route>),
}

impl Mapping {
    /// From `--db` (each `N` or `N:M`) and the database numbers of the two URLs.
    ///
    /// # Errors
    /// [`crate::error::Kind::Config`] when they contradict each other.
    pub fn new(
        listed: &[(u32, Option<u32>)],
        source_url: Option<u32>,
        target_url: Option<u32>,
    ) -> Result<Self> {
        if listed.is_empty() {
            return Ok(match (source_url, target_url) {
                (None, None) => Self::All,
                (None, Some(target)) => Self::AllInto(target),
                (Some(source), target) => {
                    Self::Routes(vec![Route { source, target: target.unwrap_or(source) }])
                }
            });
        }
        let mut routes = Vec::new();
        let mut seen = BTreeSet::new();
        for &(source, target) in listed {
            if let Some(url) = source_url.filter(|&url| url != source) {
                return Err(Error::config(format!(
                    "--db {source} and the source URL's database {url} contradict each other"
                )));
            }
            let by_url = target_url.filter(|_| target.is_none());
            if let Some((url, target)) = target_url.zip(target).filter(|(url, t)| url != t) {
                return Err(Error::config(format!(
                    "--db {source}:{target} and the target URL's database {url} contradict each other"
                )));
            }
            if !seen.insert(source) {
                return Err(Error::config(format!("database {source} is named twice by --db")));
            }
            routes.push(Route { source, target: target.or(by_url).unwrap_or(source) });
        }
        Ok(Self::Routes(routes))
    }

    /// The same for keys that go where an earlier run would have written them.
    ///
    /// # Errors
    /// [`crate::error::Kind::Config`] when the options say something else.
    pub fn obeying(self, earlier: Vec<Route>) -> Result<Self> {
        let asked = |route: &Route| match &self {
            Self::All => None,
            Self::AllInto(target) => Some(*target),
            Self::Routes(routes) => {
                routes.iter().find(|asked| asked.source == route.source).map(|asked| asked.target)
            }
        };
        let differs = |route: &&Route| asked(route).is_some_and(|target| target != route.target);
        if let Some(route) = earlier.iter().find(differs) {
            let target = asked(route).unwrap_or(route.target);
            let text = format!(
                "the keys of database {} that failed were on their way to database {}, and the options \
                 say {target}",
                route.source, route.target
            );
            return Err(Error::config(text).advise(
                "leave out --db and the databases of the URLs: the file says where its keys go",
            ));
        }
        Ok(match self {
            Self::All if !earlier.is_empty() => Self::Routes(earlier),
            asked => asked,
        })
    }

    /// The routes on a source that holds keys in `present`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Config`] when several databases would go into one that the target URL
    /// names.
    pub fn routes(&self, present: impl Iterator<Item = u32>) -> Result<Vec<Route>> {
        match self {
            Self::Routes(routes) => Ok(routes.clone()),
            Self::All => Ok(present.map(|db| Route { source: db, target: db }).collect()),
            Self::AllInto(target) => {
                let routes: Vec<Route> =
                    present.map(|source| Route { source, target: *target }).collect();
                if routes.len() > 1 {
                    let all: Vec<String> = routes.iter().map(|r| r.source.to_string()).collect();
                    return Err(Error::config(format!(
                        "the source holds keys in databases {}, the target URL names the one \
                         database {target}",
                        all.join(", ")
                    ))
                    .advise("choose with --db N:M, or leave the number out of the target URL"));
                }
                Ok(routes)
            }
        }
    }
}

/// The target databases that more than one source database goes into.
pub fn shared_targets(routes: &[Route]) -> Vec<u32> {
    let mut uses: BTreeMap<u32, usize> = BTreeMap::new();
    for route in routes {
        *uses.entry(route.target).or_default() += 1;
    }
    uses.into_iter().filter(|&(_, count)| count > 1).map(|(target, _)| target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(source: u32, target: u32) -> Route {
        Route { source, target }
    }

    #[test]
    fn options_and_urls_agree_or_are_refused() {
        let new = |listed: &[&str], source, target| {
            let listed: Vec<_> = listed.iter().map(|text| Route::parse(text).unwrap()).collect();
            Mapping::new(&listed, source, target)
        };
        assert_eq!(new(&[], None, None).unwrap(), Mapping::All);
        assert_eq!(new(&[], None, Some(4)).unwrap(), Mapping::AllInto(4));
        assert_eq!(new(&[], Some(1), None).unwrap(), Mapping::Routes(vec![route(1, 1)]));
        assert_eq!(new(&[], Some(1), Some(0)).unwrap(), Mapping::Routes(vec![route(1, 0)]));
        let listed = new(&["3", "1:0"], None, None).unwrap();
        assert_eq!(listed, Mapping::Routes(vec![route(3, 3), route(1, 0)]));
        assert_eq!(new(&["1"], Some(1), Some(9)).unwrap(), Mapping::Routes(vec![route(1, 9)]));
        assert!(new(&["1"], Some(2), None).is_err());
        assert!(new(&["1:3"], None, Some(2)).is_err());
        assert!(new(&["1", "1:2"], None, None).is_err());
        for bad in ["", "x", "1:", ":1", "1:2:3", "-1", "4294967296"] {
            assert!(Route::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_that_failed_go_where_they_were_to_go() {
        let earlier = || vec![route(0, 3), route(2, 2)];
        assert_eq!(Mapping::All.obeying(earlier()).unwrap(), Mapping::Routes(earlier()));
        assert_eq!(Mapping::All.obeying(Vec::new()).unwrap(), Mapping::All);
        let asked = Mapping::Routes(vec![route(0, 3), route(7, 1)]);
        assert_eq!(asked.clone().obeying(earlier()).unwrap(), asked);
        assert!(Mapping::Routes(vec![route(2, 0)]).obeying(earlier()).is_err());
        assert!(Mapping::AllInto(3).obeying(earlier()).is_err());
        assert!(Mapping::AllInto(3).obeying(vec![route(0, 3)]).is_ok());
    }

    #[test]
    fn several_databases_never_go_silently_into_one() {
        assert_eq!(Mapping::AllInto(4).routes([7].into_iter()).unwrap(), vec![route(7, 4)]);
        assert!(Mapping::AllInto(4).routes([1, 2].into_iter()).is_err());
        assert_eq!(shared_targets(&[route(0, 3), route(1, 3), route(2, 2)]), vec![3]);
    }
}
