//! Random settings of istio-iptables, valid ones and others, and the host they are read on. A seed and a number make
//! the same settings always.

pub mod host;
pub mod name;
mod odd;
mod said;
mod usual;

use std::fmt;

pub use host::{Families, Host};
pub use name::Name;
pub use odd::{Kind, ODD, Odd};
pub use said::{CommandLine, Said, Way};

use crate::random::Random;

/// One workload's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    pub host: Host,
    /// In the order they are said. Where two say the same, the precedence of flags and variables decides.
    pub said: Vec<Said>,
    /// What is unusual about them, if anything.
    pub odd: Option<&'static Odd>,
    /// Words that are no setting.
    pub words: Vec<String>,
}

impl Settings {
    /// The settings with this number. Every third has one odd value, each in its turn.
    pub fn draw(seed: u64, number: u64) -> Self {
        let mut random = Random::of(seed, number);
        let mut settings = Self {
            host: Host::draw(&mut random),
            said: usual::draw(&mut random),
            odd: None,
            words: Vec::new(),
        };
        if number.is_multiple_of(3) {
            let turn = usize::try_from(number / 3).unwrap_or_default() % ODD.len();
            settings.add(&mut random, &ODD[turn]);
        }
        settings
    }

    fn add(&mut self, random: &mut Random, odd: &'static Odd) {
        self.odd = Some(odd);
        // A host without an address would be a second reason.
        if self.host.families == Families::None {
            self.host.families = Families::Both;
        }
        match odd.name {
            None => self.words.extend(odd.text.split_whitespace().map(str::to_owned)),
            Some(name) => {
                // Nothing else about it is said, so that what is odd counts.
                self.said.retain(|said| said.name != name);
                self.said.push(odd.said(random, name));
            }
        }
    }

    /// As they were drawn: each in its own way.
    pub fn command_line(&self) -> CommandLine {
        let mut line = CommandLine::default();
        self.said.iter().for_each(|said| said.add_to(&mut line));
        line.args.extend(self.words.iter().cloned());
        line
    }

    /// The same settings, by flags as far as there are some.
    pub fn by_flags(&self) -> Self {
        Self { said: self.effective().iter().map(Said::by_flag).collect(), ..self.clone() }
    }

    /// The same settings, by variables as far as there are some.
    pub fn by_variables(&self) -> Self {
        Self { said: self.effective().iter().map(Said::by_variable).collect(), ..self.clone() }
    }

    /// What counts: a flag before a variable, a later flag or variable before an earlier one.
    fn effective(&self) -> Vec<Said> {
        let mut effective: Vec<Said> = Vec::new();
        let rank = |said: &Said| match said.way {
            Way::Variable(number) => number,
            _ => usize::MAX,
        };
        for said in &self.said {
            match effective.iter_mut().find(|known| known.name == said.name) {
                Some(known) if rank(known) > rank(said) => {}
                Some(known) => *known = said.clone(),
                None => effective.push(said.clone()),
            }
        }
        effective
    }

    /// The text that counts for a setting.
    pub fn text_of(&self, name: &Name) -> Option<String> {
        self.effective().into_iter().find(|said| said.name == name).map(|said| said.text)
    }
}

/// For pasting: the host, then the command.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.host)?;
        let line = self.command_line();
        f.write_str("env")?;
        line.env.iter().try_for_each(|(name, value)| write!(f, " {name}={}", quoted(value)))?;
        f.write_str(" istio-iptables")?;
        line.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

/// As a shell reads it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
