//! Which types the operators take and what they give. Errors are sentences about the operands.
//!
//! [`Ty::Dyn`] fits everywhere: what it is shows only in traffic, and a misfit there is an evaluation error.

use super::declare::Ty;

/// The type with its article, for messages.
pub(super) fn article(ty: &Ty) -> String {
    let name = ty.name();
    if name.starts_with('i') { format!("an {name}") } else { format!("a {name}") }
}

/// `==` and `!=`.
pub(super) fn equality(left: &Ty, right: &Ty) -> Result<(), String> {
    match (left, right) {
        (Ty::List(_) | Ty::Record(_), _) | (_, Ty::List(_) | Ty::Record(_)) => {
            Err("lists and records are not compared as a whole; compare their members".to_owned())
        }
        (Ty::Dyn, _) | (_, Ty::Dyn) => Ok(()),
        (left, right) if left == right || (left.is_number() && right.is_number()) => Ok(()),
        (left, right) => Err(format!("{} is never equal to {}", article(left), article(right))),
    }
}

/// `<`, `<=`, `>` and `>=`.
pub(super) fn order(left: &Ty, right: &Ty) -> Result<(), String> {
    let is_ordered = |ty: &Ty| ty.is_number() || matches!(ty, Ty::Text | Ty::Time | Ty::Dyn);
    let are_alike = left == right || (left.is_number() && right.is_number()) || *left == Ty::Dyn || *right == Ty::Dyn;
    if is_ordered(left) && is_ordered(right) && are_alike {
        Ok(())
    } else {
        Err(format!("{} and {} have no order between them", article(left), article(right)))
    }
}

/// `in`.
pub(super) fn membership(element: &Ty, list: &Ty) -> Result<(), String> {
    match list {
        Ty::Dyn => Ok(()),
        Ty::List(of) if **of == Ty::Nothing => Err("nothing is in an empty list".to_owned()),
        Ty::List(of) => equality(element, of),
        Ty::Text => Err("`in` looks into lists; for text write `text.contains(\"part\")`".to_owned()),
        other => Err(format!("`in` looks into lists, not into {}", article(other))),
    }
}

/// `+` (`is_add`), `-`, `*`, `/` and `%`.
pub(super) fn arithmetic(is_add: bool, left: Ty, right: Ty) -> Result<Ty, String> {
    match (left, right) {
        (Ty::List(left), Ty::List(right)) if is_add => join(*left, *right).map(|of| Ty::List(Box::new(of))),
        (Ty::Text, Ty::Text) if is_add => Ok(Ty::Text),
        (Ty::Dyn, Ty::Dyn) => Ok(Ty::Dyn),
        (Ty::Dyn, other) | (other, Ty::Dyn) if other.is_number() || (is_add && other == Ty::Text) => Ok(other),
        (left, right) if left.is_number() && left == right => Ok(left),
        (left, right) => {
            let hint = if left.is_number() && right.is_number() { "; convert one, as in `double(x)`" } else { "" };
            Err(format!("{} and {} are not calculated with{hint}", article(&left), article(&right)))
        }
    }
}

/// Unary `-`.
pub(super) fn negation(operand: Ty) -> Result<Ty, String> {
    match operand {
        Ty::Int | Ty::Double | Ty::Dyn => Ok(operand),
        other => Err(format!("{} cannot be negated", article(&other))),
    }
}

/// `list[index]`.
pub(super) fn index(operand: Ty, index: &Ty) -> Result<Ty, String> {
    match operand {
        Ty::Dyn => Ok(Ty::Dyn),
        Ty::List(_) if !matches!(index, Ty::Int | Ty::Uint | Ty::Dyn) => {
            Err("a list is indexed with a number".to_owned())
        }
        Ty::List(element) => Ok(*element),
        other => Err(format!("{} has no elements", article(&other))),
    }
}

/// What a macro goes through.
pub(super) fn element(range: Ty) -> Result<Ty, String> {
    match range {
        Ty::List(element) => Ok(*element),
        Ty::Dyn => Ok(Ty::Dyn),
        other => Err(format!("{} has no elements to go through", article(&other))),
    }
}

/// The type of a value that is either of two.
pub(super) fn join(left: Ty, right: Ty) -> Result<Ty, String> {
    match (left, right) {
        (left, right) if left == right => Ok(left),
        (Ty::Nothing, other) | (other, Ty::Nothing) => Ok(other),
        (Ty::Dyn, _) | (_, Ty::Dyn) => Ok(Ty::Dyn),
        (Ty::List(left), Ty::List(right)) => join(*left, *right).map(|of| Ty::List(Box::new(of))),
        (left, right) => {
            Err(format!("{} and {} stand where values of one type are needed", article(&left), article(&right)))
        }
    }
}
