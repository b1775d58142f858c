//! Small questions to syntax.

use proc_macro2::{Spacing, TokenStream, TokenTree};
use syn::spanned::Spanned;

/// Whether a derive describes a command line.
pub fn describes_arguments(derive: &TokenStream) -> bool {
    derive.clone().into_iter().any(|t| {
        matches!(t, TokenTree::Ident(i) if ["Parser", "Args", "Subcommand", "ValueEnum"].iter().any(|name| i == name))
    })
}

/// The line and text of a documentation attribute.
pub fn document(attribute: &syn::Attribute) -> Option<(usize, String)> {
    match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => {
                Some((attribute.span().start().line, text.value()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether this token is that punctuation mark.
pub fn is_punct(tree: Option<&TokenTree>, wanted: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(p)) if p.as_char() == wanted)
}

/// Whether `::` stands at this place.
pub fn is_double_colon(trees: &[TokenTree], at: usize) -> bool {
    matches!(trees.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':' && p.spacing() == Spacing::Joint)
        && is_punct(trees.get(at + 1), ':')
}

/// The segments of a path.
pub fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|s| s.ident.to_string()).collect()
}

/// The string literals among tokens.
pub fn strings(tokens: TokenStream) -> Vec<String> {
    let mut out = Vec::new();
    for tree in tokens {
        match tree {
            TokenTree::Group(group) => out.extend(strings(group.stream())),
            TokenTree::Literal(literal) => {
                out.extend(syn::parse_str::<syn::LitStr>(&literal.to_string()).map(|text| text.value()));
            }
            _ => {}
        }
    }
    out
}
