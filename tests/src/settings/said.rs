//! One setting with the text it is given, and the way it is said.

use super::name::Name;
use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `--flag text`; of a boolean that is true: `--flag`
    Long,
    /// `--flag=text`
    LongEquals,
    /// `-f text`
    Short,
    /// `-ftext`
    ShortJoined,
    /// `-f=text`
    ShortEquals,
    /// By the variable with this number.
    Variable(usize),
}

#[derive(Clone, Debug)]
pub struct Said {
    pub name: &'static Name,
    pub text: String,
    pub way: Way,
}

/// Words and variables to start istio-iptables with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    pub args: Vec<String>,
    pub env: Vec<(&'static str, String)>,
}

impl Said {
    pub fn in_some_way(random: &mut Random, name: &'static Name, text: String) -> Self {
        let mut ways: Vec<Way> = (0..name.env.len()).map(Way::Variable).collect();
        if !name.flag.is_empty() {
            ways.extend([Way::LongEquals, Way::LongEquals]);
            // Without a value a boolean is true, and a second word would not be its value.
            if !name.boolean || text == "true" {
                ways.push(Way::Long);
            }
        }
        if name.short.is_some() {
            ways.extend([Way::Short, Way::Short]);
            // An empty one would take the next word.
            if !text.is_empty() {
                ways.extend([Way::ShortJoined, Way::ShortEquals]);
            }
        }
        // `-f=text` and `-ftext` are one way too many for a text that begins with =, and none does.
        let way = *random.pick(&ways);
        Self { name, text, way }
    }

    /// As a flag if there is one.
    pub fn by_flag(&self) -> Self {
        let way = match self.name.env {
            _ if !self.name.flag.is_empty() => Way::LongEquals,
            _ => self.way,
        };
        Self { way, ..self.clone() }
    }

    /// As a variable if there is one.
    pub fn by_variable(&self) -> Self {
        let way = if self.name.env.is_empty() { self.way } else { Way::Variable(0) };
        Self { way, ..self.clone() }
    }

    pub(super) fn add_to(&self, line: &mut CommandLine) {
        let (flag, text) = (self.name.flag, &self.text);
        let short = self.name.short.unwrap_or_default();
        match self.way {
            Way::Long if self.name.boolean => line.args.push(format!("--{flag}")),
            Way::Long => line.args.extend([format!("--{flag}"), text.clone()]),
            Way::LongEquals => line.args.push(format!("--{flag}={text}")),
            Way::Short => line.args.extend([format!("-{short}"), text.clone()]),
            Way::ShortJoined => line.args.push(format!("-{short}{text}")),
            Way::ShortEquals => line.args.push(format!("-{short}={text}")),
            Way::Variable(number) => {
                let variable = self.name.env[number];
                line.env.retain(|(name, _)| *name != variable);
                line.env.push((variable, text.clone()));
            }
        }
    }
}
