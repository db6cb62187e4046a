"""The pixel paths, a folder for each profile, and what they share: conversion, registry, export."""
