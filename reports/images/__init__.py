"""The part of a page that shows pictures: what models of images confused, look at, and reach."""
