//! A crate's modules, and the unsafe code in each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprLit, File, ImplItemFn, Item, ItemFn, ItemImpl, ItemMod, ItemTrait, Lit, Macro, Meta, Stmt,
};

use super::reason::{above, documented};
use crate::read;

/// A sort of unsafe code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Block,
    Fn,
    Trait,
    Impl,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Fn => "fn",
            Self::Trait => "trait",
            Self::Impl => "impl",
        }
    }
}

/// One piece of unsafe code.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) module: String,
    /// The function, impl or macro that it is in.
    pub(super) item: String,
    pub(super) kind: Kind,
    /// Why it is sound, or what its caller must see to.
    pub(super) reason: Option<String>,
    pub(super) test: bool,
}

/// What a crate came to.
#[derive(Debug)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) entries: Vec<Entry>,
    /// Modules that forbid unsafe code, tests left out.
    pub(super) pure: Vec<String>,
    /// Files that are no tests.
    pub(super) modules: usize,
}

/// A file that is still to be read.
struct Pending {
    path: PathBuf,
    /// Where the files of its own modules lie.
    folder: PathBuf,
    module: String,
    test: bool,
}

/// Reads all of crate `name`, from its roots on.
pub(super) fn scan(root: &Path, name: &str) -> Result<Crate, String> {
    let mut found = Crate { name: name.to_owned(), entries: vec![], pure: vec![], modules: 0 };
    let src = root.join(name).join("src");
    let mut pending: Vec<Pending> = ["lib.rs", "main.rs"]
        .map(|file| Pending { path: src.join(file), folder: src.clone(), module: name.to_owned(), test: false })
        .into_iter()
        .filter(|file| file.path.exists())
        .collect();
    for extra in ["tests", "benches", "examples"] {
        let folder = root.join(name).join(extra);
        let Ok(files) = std::fs::read_dir(&folder) else { continue };
        for path in
            files.filter_map(|file| Some(file.ok()?.path())).filter(|path| path.extension().is_some_and(|e| e == "rs"))
        {
            let module = format!("{name}::{extra}::{}", path.file_stem().unwrap_or_default().display());
            pending.push(Pending { path, folder: folder.clone(), module, test: true });
        }
    }
    let mut seen = BTreeSet::new();
    while let Some(file) = pending.pop() {
        // Two modules may be one file.
        if !seen.insert(file.path.clone()) {
            continue;
        }
        read_file(root, file, &mut found, &mut pending)?;
    }
    found.entries.sort_by(|a, b| (&a.module, &a.file, a.line).cmp(&(&b.module, &b.file, b.line)));
    found.pure.sort();
    Ok(found)
}

fn read_file(root: &Path, file: Pending, found: &mut Crate, pending: &mut Vec<Pending>) -> Result<(), String> {
    let source = read(&file.path)?;
    let shown = file.path.strip_prefix(root).unwrap_or(&file.path).display().to_string();
    let syntax = syn::parse_file(&source).map_err(|error| format!("{shown}: {error}"))?;
    if !file.test {
        found.modules += 1;
        if forbids_unsafe(&syntax.attrs) {
            found.pure.push(file.module.clone());
        }
    }
    found.entries.extend(entries_in(&syntax, &source, &shown, &file.module, file.test));
    for item in &syntax.items {
        let Item::Mod(child @ ItemMod { content: None, .. }) = item else { continue };
        let name = child.ident.to_string();
        let named = path_attribute(&child.attrs).map(|path| file.path.with_file_name(path));
        let plain = file.folder.join(format!("{name}.rs"));
        let at_hand = if plain.exists() { plain } else { file.folder.join(&name).join("mod.rs") };
        // The modules of a `mod.rs`, and of a file that is named by its path, lie beside it.
        let beside = named.is_some() || at_hand.ends_with("mod.rs");
        let place = named.unwrap_or(at_hand);
        let folder = place.with_extension("");
        let folder = if beside { place.with_file_name("") } else { folder };
        let test = file.test || child.attrs.iter().any(is_for_tests);
        pending.push(Pending { path: place, folder, module: format!("{}::{name}", file.module), test });
    }
    Ok(())
}

/// `#![forbid(unsafe_code)]`, in tests or not.
pub(super) fn forbids_unsafe(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return false };
        let words: String = list.tokens.to_string().split_whitespace().collect();
        match list.path.get_ident().map(ToString::to_string).as_deref() {
            Some("forbid") => words.split(',').any(|lint| lint == "unsafe_code"),
            Some("cfg_attr") => words == "not(test),forbid(unsafe_code)",
            _ => false,
        }
    })
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// `#[cfg(test)]`, or a `cfg` that any test turns on.
fn is_for_tests(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    let words: Vec<String> = list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect();
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    list.path.is_ident("cfg") && has("test") && !has("not")
}

/// The unsafe code of one file's text.
#[cfg(test)]
pub(super) fn entries_of(source: &str, file: &str, module: &str, test: bool) -> Result<Vec<Entry>, String> {
    let syntax = syn::parse_file(source).map_err(|error| error.to_string())?;
    Ok(entries_in(&syntax, source, file, module, test))
}

fn entries_in(syntax: &File, source: &str, file: &str, module: &str, test: bool) -> Vec<Entry> {
    let lines: Vec<&str> = source.lines().collect();
    let mut walk = Walk { lines: &lines, file, module, test, items: vec![], statement: 1, entries: vec![] };
    walk.visit_file(syntax);
    walk.entries
}

/// The walk through one file.
struct Walk<'a> {
    lines: &'a [&'a str],
    file: &'a str,
    module: &'a str,
    test: bool,
    /// The items around, outermost first.
    items: Vec<String>,
    /// The line on which the innermost statement, field or arm begins.
    statement: usize,
    entries: Vec<Entry>,
}

fn line(span: Span) -> usize {
    span.start().line
}

impl Walk<'_> {
    fn found(&mut self, kind: Kind, at: usize, reason: Option<String>) {
        self.entries.push(Entry {
            file: self.file.to_owned(),
            line: at,
            module: self.module.to_owned(),
            item: if self.items.is_empty() { "-".to_owned() } else { self.items.join("::") },
            kind,
            reason,
            test: self.test,
        });
    }

    fn inside(&mut self, name: String, walk: impl FnOnce(&mut Self)) {
        self.items.push(name);
        walk(self);
        self.items.pop();
    }

    /// Blocks among tokens that nobody has parsed: a macro's.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut after_unsafe = None;
        for token in tokens {
            match token {
                TokenTree::Ident(word) => after_unsafe = (word == "unsafe").then(|| line(word.span())),
                TokenTree::Group(group) => {
                    if let Some(at) = after_unsafe.take() {
                        self.found(Kind::Block, at, above(self.lines, at, at));
                    }
                    self.tokens(group.stream());
                }
                _ => after_unsafe = None,
            }
        }
    }
}

/// The last word of a path.
fn path_name(path: &syn::Path) -> String {
    path.segments.last().map_or_else(String::new, |segment| segment.ident.to_string())
}

/// A type without its parameters.
fn type_name(shape: &syn::Type) -> String {
    match shape {
        syn::Type::Path(path) => path_name(&path.path),
        syn::Type::Reference(inner) => format!("&{}", type_name(&inner.elem)),
        _ => "type".to_owned(),
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let outer = self.test;
        self.test |= item.attrs.iter().any(is_for_tests);
        if item.content.is_some() {
            self.inside(item.ident.to_string(), |walk| visit::visit_item_mod(walk, item));
        }
        self.test = outer;
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.inside(item.sig.ident.to_string(), |walk| {
            if item.sig.unsafety.is_some() {
                walk.found(Kind::Fn, line(item.sig.span()), documented(&item.attrs));
            }
            visit::visit_item_fn(walk, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.inside(item.sig.ident.to_string(), |walk| {
            // A trait's method keeps the contract that the trait documents.
            if item.sig.unsafety.is_some() && !walk.items.iter().any(|item| item.contains(" for ")) {
                walk.found(Kind::Fn, line(item.sig.span()), documented(&item.attrs));
            }
            visit::visit_impl_item_fn(walk, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.inside(item.sig.ident.to_string(), |walk| {
            if item.sig.unsafety.is_some() {
                walk.found(Kind::Fn, line(item.sig.span()), documented(&item.attrs));
            }
            visit::visit_trait_item_fn(walk, item);
        });
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.inside(item.ident.to_string(), |walk| {
            if item.unsafety.is_some() {
                walk.found(Kind::Trait, line(item.span()), documented(&item.attrs));
            }
            visit::visit_item_trait(walk, item);
        });
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let target = type_name(&item.self_ty);
        let name = match &item.trait_ {
            Some((_, path, _)) => format!("{} for {target}", path_name(path)),
            None => target,
        };
        self.inside(name, |walk| {
            if let Some(word) = item.unsafety {
                let at = line(word.span());
                walk.found(Kind::Impl, at, above(walk.lines, at, at));
            }
            visit::visit_item_impl(walk, item);
        });
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        let outer = std::mem::replace(&mut self.statement, line(statement.span()));
        visit::visit_stmt(self, statement);
        self.statement = outer;
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let outer = std::mem::replace(&mut self.statement, line(arm.span()));
        visit::visit_arm(self, arm);
        self.statement = outer;
    }

    fn visit_item(&mut self, item: &'ast Item) {
        let outer = std::mem::replace(&mut self.statement, line(item.span()));
        visit::visit_item(self, item);
        self.statement = outer;
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        let at = line(block.unsafe_token.span());
        self.found(Kind::Block, at, above(self.lines, self.statement.min(at), at));
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        let name = item.ident.as_ref().map_or_else(|| path_name(&item.mac.path), ToString::to_string);
        self.inside(format!("{name}!"), |walk| visit::visit_item_macro(walk, item));
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.tokens(call.tokens.clone());
    }
}
